"""Held-out tasks: what a probe asks a model, and what is known about the answers."""

from fusionscope.tasks.law import Law, RowLaw, benchmark_law
from fusionscope.tasks.registry import known_tasks, load_task
from fusionscope.tasks.sources.images import open_image
from fusionscope.tasks.sources.lazy import DrawnImage, LazyImages, digest_of_images
from fusionscope.tasks.spec import TaskSpec, load_tasks, settings_of, unique_names
from fusionscope.tasks.task import HeldOutTask, Question, uniform_weights

__all__ = [
    "DrawnImage",
    "HeldOutTask",
    "Law",
    "LazyImages",
    "Question",
    "RowLaw",
    "TaskSpec",
    "benchmark_law",
    "digest_of_images",
    "known_tasks",
    "load_task",
    "load_tasks",
    "open_image",
    "settings_of",
    "uniform_weights",
    "unique_names",
]
