"""Held-out tasks: what a probe asks a model, and what is known about the answers."""

from fusionscope.tasks.registry import known_tasks, load_task
from fusionscope.tasks.task import HeldOutTask, Question, uniform_weights

__all__ = ["HeldOutTask", "Question", "known_tasks", "load_task", "uniform_weights"]
