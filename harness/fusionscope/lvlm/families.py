"""Importing this module registers every adapter."""

from fusionscope.lvlm import fuyu, gemma, instructblip, llava, mllama, qwen, stream

__all__ = ["fuyu", "gemma", "instructblip", "llava", "mllama", "qwen", "stream"]
