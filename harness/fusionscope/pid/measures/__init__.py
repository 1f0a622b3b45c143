"""Other two-source redundancies on the same posteriors, in bits: under how many measures does a finding stand?

Redundancy and unique information depend on the measure by more than tenfold, synergy by some 20 %. The decomposition of
Bertschinger et al. leads (:mod:`fusionscope.pid`); these stand beside it. README.md beside this file says what each is.
"""

from collections.abc import Sequence

from fusionscope.errors import UnknownNameError
from fusionscope.pid.estimators.sample import GridSample
from fusionscope.pid.measures.base import Measure, joint_of
from fusionscope.pid.measures.i_ccs import ICCS
from fusionscope.pid.measures.i_dep import IDep
from fusionscope.pid.measures.i_min import IMin
from fusionscope.pid.measures.i_mmi import IMMI
from fusionscope.pid.measures.i_sx import ISX
from fusionscope.pid.result import PIDResult

__all__ = ["MEASURES", "Measure", "get_measure", "measure_panel"]

MEASURES: dict[str, Measure] = {measure.name: measure for measure in (IMin(), IMMI(), ICCS(), IDep(), ISX())}
"""By name."""


def get_measure(name: str) -> Measure:
    """A measure by its name.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in MEASURES:
        raise UnknownNameError(f"measure {name!r}", f"known are {', '.join(MEASURES)}", "use one of them")
    return MEASURES[name]


def measure_panel(sample: GridSample, names: Sequence[str] = tuple(MEASURES)) -> dict[str, PIDResult]:
    """The atoms of a grid under several measures; what they have in common is computed once.

    Args:
        sample: Images and questions, all paired, any number of layers.
        names: Which measures.

    Returns:
        By name, atoms in bits [...], signed, without bias correction.

    Raises:
        UnknownNameError: A measure that there is not.
        InputError: As of :func:`fusionscope.pid.pid_crossed`.

    Example:
        >>> import torch
        >>> panel = measure_panel(GridSample(conditionals=torch.eye(2)[:, None].expand(2, 2, 2)), ["I_min", "I_dep"])
        >>> {name: round(float(pid.unique_vision), 6) for name, pid in panel.items()}
        {'I_min': 1.0, 'I_dep': 1.0}
    """
    measures = [get_measure(name) for name in names]
    joint = joint_of(sample)
    return {measure.name: measure.atoms(joint).reshaped(sample.leading) for measure in measures}
