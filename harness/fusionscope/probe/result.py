"""What a probe returns: one result per law of questions and layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fusionscope.pid import PIDResult


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The decomposition of one task at one layer under one law of questions, with the whole of its measurement.

    Args:
        task: The task's name.
        variant: What of the measurement is not default, as a short string (`ProbeSpec.variant`).
        design: How the unimodal posteriors were obtained.
        law: The law of questions: ``"uniform"`` (independent images and questions) or ``"natural"`` (natural pairs).
        estimator: Name of the estimator.
        layer: 0 for the language model's input embeddings, i for the output of decoder layer i.
        n_layers: Decoder layers of the model.
        pid: The atoms, in bits, scalar tensors.
        n: Pairs that were run.
        n_images: Images among them.
        n_questions: Questions among them.
        accuracy: Fraction of pairs whose most probable option is right; NaN where no answer is known.
        accuracy_without_image: The same for the mean answer to the question over images.
        accuracy_without_text: The same for the mean answer to the image over questions.
        diagnostics: ``option_mass`` (options' probability in the vocabulary), ``fallback_rate`` (fraction of pairs
            under 0.3 of it), ``marginal_mismatch`` (total variation between label marginals), ``sum_rule_residual``
            (bits), and what design and estimator report.
        seconds: Wall time of the whole probe of this task, all layers together.
        tokens: Tokens of the whole probe of this task, all layers together.
        fingerprints: Hashes of ``task`` (content), ``model`` (weights) and ``spec`` (how it was measured).
        spec: The settings of the specification that are not default.
        dropped: How many rows or images of the task's source were left out, by reason.
        citation: How to cite the task's source.
        licence: The licence of the task's source.
    """

    task: str
    variant: str
    design: str
    law: str
    estimator: str
    layer: int
    n_layers: int
    pid: PIDResult
    n: int
    n_images: int
    n_questions: int
    accuracy: float
    accuracy_without_image: float
    accuracy_without_text: float
    diagnostics: Mapping[str, float]
    seconds: float
    tokens: int
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    citation: str = ""
    licence: str = ""
