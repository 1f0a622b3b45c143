"""From posteriors to results: atoms, accuracies with and without a modality, diagnostics.

Shapes: A images, B questions, N pairs, K answers, L layers.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from fusionscope import pid
from fusionscope.errors import InputError, UnknownNameError
from fusionscope.probe.engine.placement import on_device
from fusionscope.probe.posteriors import FALLBACK_MASS, Posteriors, ProbeResult
from fusionscope.tasks import HeldOutTask

ACCURACIES = ("accuracy", "accuracy_without_image", "accuracy_without_text")


def results(
    found: Posteriors,
    task: HeldOutTask,
    weights: Sequence[str] = ("uniform",),
    *,
    estimator: str = "exact",
    standard_errors: bool = True,
    device: torch.device | str = "cpu",
) -> list[ProbeResult]:
    """One result per weights and layer, weights outermost, on the CPU.

    A layer whose posteriors are not numbers (half precision that overflowed, a model that diverged) is unsolved: NaN
    and not converged, with a warning that names it.

    Args:
        found: Posteriors of the task.
        task: The task.
        weights: Names of pair weights. Designs over natural pairs count each pair once and give one set of results,
            under ``"natural"``.
        estimator: ``"exact"``, or for natural pairs ``"faithful"``: the paper's arithmetic on marginals that disagree.
        standard_errors: Compute them.
        device: Where to decompose the posteriors (`fusionscope.probe.engine.placement.on_device`).
    """
    if found.crossed is None:
        return _pair_results(found, task, estimator, standard_errors, device)
    return [one for name in weights for one in crossed_results(found, task, name, estimator, standard_errors, device)]


def crossed_results(
    found: Posteriors,
    task: HeldOutTask,
    weights: str,
    estimator: str = "exact",
    standard_errors: bool = True,
    device: torch.device | str = "cpu",
) -> list[ProbeResult]:
    """Results of a crossed design under one of the task's pair weights, one per layer."""
    if found.crossed is None:
        raise InputError(
            f"pair weights {weights!r} on posteriors of design {found.design!r}",
            "pair weights and bias correction need the crossed grid",
            "use design='crossed', or `results`",
        )
    check_estimator(estimator, crossed=True)
    check_weights(task, weights)
    pair_weights = task.pair_weights[weights]
    decompose = partial(
        pid.pid_crossed,
        weights=pair_weights,
        standard_errors=standard_errors,
        images_enumerated=task.images_enumerated,
        questions_enumerated=task.questions_enumerated,
    )
    atoms = _decomposed(found, device, decompose, found.crossed)
    right = accuracies(found.crossed, pair_weights, task.truth)
    extra = {
        "option_mass": (found.mass * pair_weights).sum((-1, -2)),
        "fallback_rate": ((found.mass < FALLBACK_MASS) * pair_weights).sum((-1, -2)),
        "marginal_mismatch": torch.zeros(len(found.layers)),
    }
    return _layers(found, weights, atoms, right, extra, int((pair_weights > 0).sum()), *pair_weights.shape)


def check_estimator(estimator: str, *, crossed: bool) -> None:
    """Raises where a probe does not know an estimator, or cannot use it in a design.

    Raises:
        UnknownNameError: No such estimator.
        InputError: Not for a crossed design.
    """
    if estimator not in ("exact", "faithful"):
        raise UnknownNameError(f"estimator {estimator!r}", "a probe knows exact and faithful", "use one of them")
    if crossed and estimator != "exact":
        raise InputError(
            f"estimator {estimator!r} with design 'crossed'",
            "pair weights and bias correction need the exact estimator",
            "use estimator='exact', or a design over natural pairs",
        )


def check_weights(task: HeldOutTask, name: str) -> None:
    """Raises UnknownNameError where a task does not know these pair weights."""
    if name not in task.pair_weights:
        raise UnknownNameError(
            f"weights {name!r} for task {task.name!r}",
            f"it has {', '.join(sorted(task.pair_weights)) or 'none'}",
            "use one of these, or add the weights to the task's pair_weights",
        )


def accuracies(p_LABK: Tensor, weights: Tensor, truth: Tensor | None) -> dict[str, Tensor]:
    """Accuracy with both modalities and without either, float64 [L] each.

    Without the image the answer to question b is the most probable one of the mean over images; pairs whose answer is
    not known (-1) do not count.

    Args:
        p_LABK: Posteriors of the grid.
        weights: float64 [A, B] over pairs.
        truth: int64 [A, B] or None.
    """
    if truth is None:
        return {name: torch.full(p_LABK.shape[:1], float("nan"), dtype=torch.float64) for name in ACCURACIES}
    joint = weights.unsqueeze(-1) * p_LABK
    answers = (
        p_LABK.argmax(-1),
        joint.sum(1, keepdim=True).argmax(-1).expand(p_LABK.shape[:-1]),
        joint.sum(2, keepdim=True).argmax(-1).expand(p_LABK.shape[:-1]),
    )
    known = weights * (truth >= 0)
    return {
        name: ((answer == truth) * known).sum((-1, -2)) / known.sum()
        for name, answer in zip(ACCURACIES, answers, strict=True)
    }


def _whole(posteriors: Sequence[Tensor]) -> Tensor:
    """Which layers hold numbers alone, bool [L]."""
    return torch.stack([p.isfinite().flatten(1).all(1) for p in posteriors]).all(0)


def _decomposed(
    found: Posteriors, device: torch.device | str, decompose: Callable[..., pid.PIDResult], *posteriors: Tensor
) -> pid.PIDResult:
    """Atoms of all layers on the CPU; a layer that holds more than numbers is unsolved."""
    whole = _whole(posteriors)
    if not whole.all():
        lost = ", ".join(str(layer) for layer, fine in zip(found.layers, whole.tolist(), strict=True) if not fine)
        warnings.warn(
            f"task {found.task!r}: the posteriors of layer {lost} are not numbers (an overflow in half precision, or a "
            "model that diverged): their atoms are NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        posteriors = tuple(p.where(_like(whole, p), 1 / p.shape[-1]) for p in posteriors)
    atoms = on_device(device, "decompose posteriors", decompose, *posteriors).map(Tensor.cpu)
    return atoms if whole.all() else atoms.map(partial(_unsolved, whole=whole))


def _like(whole: Tensor, other: Tensor) -> Tensor:
    return whole.view(-1, *[1] * (other.ndim - 1))


def _unsolved(value: Tensor, whole: Tensor) -> Tensor:
    """A value per layer without those of unsolved layers."""
    if value.shape[:1] != whole.shape:
        return value
    return value.where(_like(whole, value), torch.nan if value.is_floating_point() else False)


def _pair_results(
    found: Posteriors, task: HeldOutTask, estimator: str, standard_errors: bool, device: torch.device | str
) -> list[ProbeResult]:
    joint, vision, language = found.joint, found.vision, found.language
    if joint is None or vision is None or language is None or found.pairs is None or found.pair_answers is None:
        raise InputError(
            f"posteriors of design {found.design!r}", "they hold no pairs", "use `posteriors` to make them"
        )
    check_estimator(estimator, crossed=False)
    decompose = partial(
        pid.pid_from_posteriors,
        estimator=estimator,
        standard_errors=standard_errors,
    )
    atoms = _decomposed(found, device, decompose, joint, vision, language)
    known = found.pair_answers >= 0
    right = {
        name: (p[:, known].argmax(-1) == found.pair_answers[known]).double().mean(-1)
        for name, p in zip(ACCURACIES, (joint, language, vision), strict=True)
    }
    means = torch.stack([p.mean(1) for p in (joint, vision, language)])
    extra = {
        "option_mass": found.mass.mean(-1),
        "fallback_rate": (found.mass < FALLBACK_MASS).double().mean(-1),
        "marginal_mismatch": (means.unsqueeze(0) - means.unsqueeze(1)).abs().sum(-1).amax((0, 1)) / 2,
    }
    images, questions = (len(column.unique()) for column in found.pairs.T)
    return _layers(found, "natural", atoms, right, extra, len(found.pairs), images, questions)


def _layers(
    found: Posteriors,
    weights: str,
    atoms: pid.PIDResult,
    right: Mapping[str, Tensor],
    extra: Mapping[str, Tensor],
    n: int,
    n_images: int,
    n_questions: int,
) -> list[ProbeResult]:
    residual = torch.stack(list(atoms.atoms().values())).sum(0) - atoms.total
    solved = {name: value for name, value in atoms.diagnostics.items() if value.shape == residual.shape}
    whole = _whole([p for p in (found.crossed, found.joint, found.vision, found.language) if p is not None])
    tables = {name: _unsolved(value, whole) for name, value in {**solved, **extra}.items()}
    tables["sum_rule_residual"] = residual
    return [
        ProbeResult(
            task=found.task,
            design=found.design,
            weights=weights,
            layer=layer,
            n_layers=found.n_layers,
            estimator=atoms.estimator,
            pid=atoms[i],
            n=n,
            n_images=n_images,
            n_questions=n_questions,
            diagnostics={**found.details, **{name: float(value[i]) for name, value in tables.items()}},
            seconds=found.seconds,
            tokens=found.tokens,
            **{name: float(_unsolved(value, whole)[i]) for name, value in right.items()},
        )
        for i, layer in enumerate(found.layers)
    ]
