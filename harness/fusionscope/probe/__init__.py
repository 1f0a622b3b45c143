"""The probe: from a model and a held-out task to posteriors per layer, and to the atoms in bits."""

from fusionscope.probe.decompose import results
from fusionscope.probe.designs import Design, PairDesign, get_design, known_designs
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.experimental.interventions import compare
from fusionscope.probe.experimental.rotation import rotation_posteriors
from fusionscope.probe.posteriors import GridPosteriors, PairPosteriors, Posteriors, RowPosteriors
from fusionscope.probe.probe import lens_name, lens_of, posteriors, probe, readable
from fusionscope.probe.record import model_name, to_record
from fusionscope.probe.result import ProbeResult
from fusionscope.probe.spec import ProbeSpec

__all__ = [
    "Design",
    "Execution",
    "GridPosteriors",
    "PairDesign",
    "PairPosteriors",
    "Posteriors",
    "ProbeResult",
    "ProbeSpec",
    "RowPosteriors",
    "compare",
    "get_design",
    "known_designs",
    "lens_name",
    "lens_of",
    "model_name",
    "posteriors",
    "probe",
    "readable",
    "results",
    "rotation_posteriors",
    "to_record",
]
