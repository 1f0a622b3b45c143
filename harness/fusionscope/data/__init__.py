"""Held-out tasks and training data."""

from fusionscope.data.registry import known_tasks, load_task
from fusionscope.data.task import HeldOutTask, Question, uniform_weights

__all__ = ["HeldOutTask", "Question", "known_tasks", "load_task", "uniform_weights"]
