"""The probe: from a model and a held-out task to posteriors per layer, and to the atoms in bits."""

from fusionscope.probe.interventions import compare, occlude, shuffle_images, shuffle_words
from fusionscope.probe.probe import design_of, posteriors, probe, sample_size
from fusionscope.probe.record import model_name, to_record
from fusionscope.probe.result import Posteriors, ProbeResult
from fusionscope.probe.results import crossed_results, results
from fusionscope.probe.rotation import rotation_posteriors
from fusionscope.probe.session import Settings

__all__ = [
    "Posteriors",
    "ProbeResult",
    "Settings",
    "compare",
    "crossed_results",
    "design_of",
    "model_name",
    "occlude",
    "posteriors",
    "probe",
    "results",
    "rotation_posteriors",
    "sample_size",
    "shuffle_images",
    "shuffle_words",
    "to_record",
]
