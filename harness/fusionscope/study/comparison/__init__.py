"""Comparing models over tasks."""
