"""Questions with their words in another order."""

from dataclasses import replace

import torch

from fusionscope.tasks.task import HeldOutTask, Question


def shuffle_words(task: HeldOutTask, seed: int = 0) -> HeldOutTask:
    """The words of every question in random order; its options stay in theirs.

    Args:
        task: The task.
        seed: Seed of the orders.
    """
    generator = torch.Generator().manual_seed(seed)
    questions = [_shuffled(question, generator) for question in task.questions]
    return replace(task, name=f"{task.name}+shuffled words", questions=questions)


def _shuffled(question: Question, generator: torch.Generator) -> Question:
    kept = question.blanked if question.blanked and question.blanked in question.text else ""
    before, _, after = question.text.partition(kept) if kept else (question.text, "", "")
    words = before.split()
    order = torch.randperm(len(words), generator=generator).tolist()
    ends = before[len(before.rstrip()) :]
    return replace(question, text=" ".join(words[i] for i in order) + ends + kept + after)
