"""The files of a checkpoint folder: which one a run is resumed from, and which takes its place when it is torn.

``last.ckpt`` holds all it takes to go on, ``previous.ckpt`` is the one before it, and ``step=00000123.ckpt`` holds
weights alone, for probing. A save removes the previous one first: a folder never holds more than two whole ones.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from fusionscope import parallel
from fusionscope.errors import DataError, RunDirectoryError
from fusionscope.records import digests
from fusionscope.records.directory import LAST, PREVIOUS, RunDirectory
from fusionscope.records.run import Run

NEW = "new.ckpt"


def checkpoint_folder(root: str | os.PathLike[str]) -> Path:
    """Where the stage that is running in a directory keeps its checkpoints.

    Args:
        root: A run directory, or any other that a trainer has for its root.
    """
    run = Run.find(root)
    stage = run.current if run else None
    return RunDirectory(root).stage(stage.name if stage else "").checkpoints


def check_room(folder: Path, module: nn.Module) -> None:
    """Refuse to train where the disk has no room for a save; every rank must call it.

    Args:
        folder: The checkpoint folder; need not exist yet.
        module: What is trained. Its trained weights are saved for probing, and once more with two moments of Adam
            beside the checkpoint that they replace; frozen weights that somebody saves too come on top.

    Raises:
        RunDirectoryError: On every rank, where the first one sees too little free space.
    """
    weights = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    error = parallel.broadcast(_room_error(folder, 4 * weights) if parallel.is_main() else None)
    if error is not None:
        raise error


def _room_error(folder: Path, needed: int) -> RunDirectoryError | None:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free >= needed:
        return None
    return RunDirectoryError(
        f"{folder} has {free / 1e9:.1f} GB of free space, and a save takes at least {needed / 1e9:.1f} GB",
        "the weights are saved for probing, and a whole checkpoint beside the one that it replaces",
        "free some space, or run in a directory on another disk (--run-dir)",
    )


def save_to_resume(trainer: Any, folder: Path) -> None:
    """Save a whole checkpoint as ``last.ckpt`` and keep the one before it; every rank must call it.

    Args:
        trainer: A Lightning trainer.
        folder: The checkpoint folder.
    """
    if parallel.is_main():
        _remove(folder / PREVIOUS)
        _remove(folder / NEW)
    parallel.barrier()
    trainer.save_checkpoint(folder / NEW, weights_only=False)
    if parallel.is_main():
        if (folder / NEW).is_dir():  # of DeepSpeed, which writes its files itself
            digests.note_directory(folder / NEW)
        _rename(folder, LAST, PREVIOUS)
        _rename(folder, NEW, LAST)
    parallel.barrier()


def to_resume(folder: Path) -> tuple[Path | None, str]:
    """The checkpoint that a run goes on from.

    Args:
        folder: The checkpoint folder.

    Returns:
        The last whole one, or None where none was saved; and what is wrong with a newer one, or "".

    Raises:
        DataError: Checkpoints were saved and none of them is whole.
    """
    problems = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            digests.verify(path)
        except DataError as error:
            problems.append(error.what)
            continue
        return path, "; ".join(problems)
    if not problems:
        return None, ""
    whole = digests.newest_whole(folder, "step=*.ckpt")
    raise DataError(
        "; ".join(problems),
        "none of the checkpoints that the run could go on from is whole",
        (f"the newest whole weights are {whole}: probe or export them. " if whole else "")
        + f"Copy {folder} from a backup, or delete it to train the stage from its start",
    )


def _rename(folder: Path, old: str, new: str) -> None:
    if (folder / old).exists():
        digests.renamed(folder, old, new)
        os.replace(folder / old, folder / new)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
