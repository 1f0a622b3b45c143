"""When an atom emerges during training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fusionscope.errors import InputError
from fusionscope.records import Record

Z_95 = 1.959963984540054
RESOLUTION = 0.05


@dataclass(frozen=True, kw_only=True)
class Onset:
    """The first probe from which an atom stays above its null.

    Args:
        step: Optimizer steps at that probe, or None if the atom is not above the null at the last probe.
        null: The level it had to stay above, in bits.
    """

    step: int | None
    null: float


def onset(records: Sequence[Record], *, atom: str = "synergy", null: float | None = None) -> Onset:
    """The first probe from which the lower 95 % limit of an atom stays above the null at every later probe.

    Args:
        records: The records of one series and layer, in any order.
        atom: Which atom.
        null: The level in bits. By default the upper 95 % limit at the first probe, when the model had seen no training
            of this run, and never under 0.05 bits: what the design can resolve.

    Raises:
        InputError: No records, or records of several series or layers.
    """
    kinds = {(record.series, record.layer) for record in records}
    if len(kinds) != 1:
        raise InputError(
            f"onset of {len(records)} records of {len(kinds)} series and layers",
            "an onset belongs to one curve",
            "select the records of one series and one layer",
        )
    ordered = sorted(records, key=lambda record: record.step)
    if null is None:
        null = max(getattr(ordered[0], atom) + _margin(ordered[0], atom), RESOLUTION)
    step = None
    for record in reversed(ordered):
        if not getattr(record, atom) - _margin(record, atom) > null:
            break
        step = record.step
    return Onset(step=step, null=null)


def _margin(record: Record, atom: str) -> float:
    error = record.standard_errors.get(atom, 0.0)
    return Z_95 * error if math.isfinite(error) else 0.0
