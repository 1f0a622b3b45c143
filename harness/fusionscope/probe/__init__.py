"""The probe: from a model and a held-out task to posteriors per layer, and to the atoms in bits."""

from fusionscope.probe.decompose import crossed_results, results
from fusionscope.probe.engine.session import Settings
from fusionscope.probe.experimental.interventions import compare
from fusionscope.probe.experimental.rotation import rotation_posteriors
from fusionscope.probe.posteriors import Posteriors, ProbeResult
from fusionscope.probe.probe import design_of, posteriors, probe, sample_size
from fusionscope.probe.record import model_name, to_record

__all__ = [
    "Posteriors",
    "ProbeResult",
    "Settings",
    "compare",
    "crossed_results",
    "design_of",
    "model_name",
    "posteriors",
    "probe",
    "results",
    "rotation_posteriors",
    "sample_size",
    "to_record",
]
