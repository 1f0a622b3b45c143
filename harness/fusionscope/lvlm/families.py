"""Importing this module registers every adapter."""

from fusionscope.lvlm import llava

__all__ = ["llava"]
