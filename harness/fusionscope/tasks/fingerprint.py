"""What tells one task from another: a hash of all that a probe reads of it, whatever it is called."""

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from fusionscope.tasks.sources.lazy import digest_of_images

if TYPE_CHECKING:
    from fusionscope.tasks.task import HeldOutTask

_PERSON = b"fusionscope-task"
"""Ends hashes that other things might share; another one where what is hashed changes."""


def fingerprint_of(task: "HeldOutTask") -> str:
    """The hash of a task's content, 32 hexadecimal digits.

    It covers questions with candidates and blanked forms, answers, pairs and their answers, truth, named pair weights,
    the laws of the pairs, the flags, the order of everything, and the images by their digests. Names, ids, paths,
    citation and licence are no content.

    Args:
        task: The task; files of images are read, not decoded.

    Raises:
        BadImageError: An image's file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16, person=_PERSON)
    for part in _parts(task):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _parts(task: "HeldOutTask") -> Iterator[bytes]:
    questions = [[question.text, list(question.candidates), question.blanked] for question in task.questions]
    enumerated = [task.images_enumerated, task.questions_enumerated]
    flags = [task.crossable, *enumerated, task.images_balanced, task.questions_balanced]
    yield json.dumps([questions, list(task.answers), flags]).encode()
    yield from (_tensor(tensor) for tensor in (task.pairs, task.pair_answers))
    yield b"" if task.truth is None else _tensor(task.truth)
    for law in task.row_laws.values():
        yield f"{law.name} {law.images_total} {sorted(law.of_pairs())}".encode()
        yield from (_tensor(tensor) for _, tensor in sorted(law.of_pairs().items()))
    for name in sorted(task.pair_weights):
        yield name.encode()
        yield _tensor(task.pair_weights[name])
    yield "\n".join(digest_of_images(task.images)).encode()


def _tensor(tensor: Tensor) -> bytes:
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
