"""What a probe returns: posteriors per layer, and one result per weights and layer.

Shapes: A images, B questions, N pairs, K answers, L layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fusionscope.pid import PIDResult

FALLBACK_MASS = 0.3
"""Mass of the options under which the paper (arXiv 2603.29676) replaces a distribution by the uniform one."""


@dataclass(frozen=True, kw_only=True)
class Posteriors:
    """What an estimator reads: the model's answer distributions at every probed layer.

    A crossed design fills ``crossed``; the designs over natural pairs fill ``joint``, ``vision`` and ``language``.

    Args:
        task: The task's name.
        design: How the unimodal posteriors were obtained.
        layers: Layer numbers, in the order of the leading dimension.
        n_layers: Decoder layers of the model.
        mass: float64 [L, A, B] or [L, N], the options' probability in the whole vocabulary.
        crossed: float64 [L, A, B, K], p(y | image a, question b).
        joint: float64 [L, N, K], p(y | image, question) of each pair.
        vision: float64 [L, N, K], p(y | image).
        language: float64 [L, N, K], p(y | question).
        pairs: int64 [N, 2], the pairs behind ``joint``.
        pair_answers: int64 [N], their right answers, -1 where unknown.
        seconds: Wall time of the passes.
        tokens: Tokens that went through the decoder, padding left out.
        batch_rows: Sequences per pass that fitted.
        details: What a design reports besides.
    """

    task: str
    design: str
    layers: tuple[int, ...]
    n_layers: int
    mass: Tensor
    crossed: Tensor | None = None
    joint: Tensor | None = None
    vision: Tensor | None = None
    language: Tensor | None = None
    pairs: Tensor | None = None
    pair_answers: Tensor | None = None
    seconds: float = 0.0
    tokens: int = 0
    batch_rows: int = 0
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The decomposition of one task at one layer under one weighting of its pairs.

    Args:
        task: The task's name.
        design: How the unimodal posteriors were obtained; a number never travels without it.
        weights: Which pairs count how much: ``"uniform"`` (interventional) or ``"natural"`` (observational).
        layer: 0 for the language model's input embeddings, i for the output of decoder layer i.
        n_layers: Decoder layers of the model.
        estimator: Name of the estimator.
        pid: The atoms, in bits, scalar tensors.
        n: Pairs that were run.
        n_images: Images among them.
        n_questions: Questions among them.
        accuracy: Share of pairs whose most probable option is right; NaN where no answer is known.
        accuracy_without_image: The same for the mean answer to the question over images.
        accuracy_without_text: The same for the mean answer to the image over questions.
        diagnostics: ``option_mass`` (options' probability in the vocabulary), ``fallback_rate`` (share of pairs under
            0.3 of it), ``marginal_mismatch`` (total variation between label marginals), ``sum_rule_residual`` (bits).
        seconds: Wall time of the whole probe of this task, all layers together.
        tokens: Tokens of the whole probe of this task, all layers together.
    """

    task: str
    design: str
    weights: str
    layer: int
    n_layers: int
    estimator: str
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
