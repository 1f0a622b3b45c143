"""From posteriors to results: atoms, accuracies with and without a modality, diagnostics.

Shapes: L layers.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fusionscope.pid import PIDResult
from fusionscope.pid.estimators import Estimator
from fusionscope.pid.measures import measure_panel
from fusionscope.probe.engine.placement import on_device
from fusionscope.probe.posteriors import Posteriors, View
from fusionscope.probe.result import ProbeResult
from fusionscope.probe.spec import ProbeSpec
from fusionscope.tasks import HeldOutTask


def results(
    posteriors: Posteriors,
    task: HeldOutTask,
    spec: ProbeSpec = ProbeSpec(),  # noqa: B008 (frozen)
    *,
    lens: str = "logit",
    fingerprints: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
) -> list[ProbeResult]:
    """One result per law and layer, laws outermost, on the CPU.

    A layer whose posteriors are not finite (half precision that overflowed, a model that diverged) is unsolved: NaN
    and not converged, with a warning that names it.

    Args:
        posteriors: Posteriors of the task.
        task: The task that was run.
        spec: Estimator and laws.
        lens: Name of the lens through which the posteriors were read.
        fingerprints: Hashes of ``task`` and ``model``, which the results carry.
        device: Where to decompose the posteriors (`fusionscope.probe.engine.placement.on_device`).
    """
    spec.check(task)
    design, estimator = spec.design_of(task), spec.make_estimator()
    finite_L = posteriors.finite_layers()
    _warn_of_non_finite(posteriors, finite_L)
    solvable = posteriors if bool(finite_L.all()) else posteriors.with_uniform(~finite_L)
    found = []
    for law in design.laws(task, spec.laws):
        view = solvable.under(law, task)
        atoms = _decomposed(view, estimator, spec.standard_errors, device)
        atoms = replace(atoms, diagnostics={**atoms.diagnostics, **_measured(view, spec.measures, device)})
        of_law: dict[str, Any] = {
            "task": task.name,
            "variant": spec.variant(design, law, lens),
            "design": design.name,
            "law": law,
            "estimator": spec.estimator,
            "fingerprints": {**(fingerprints or {}), "spec": spec.fingerprint(design, law, lens)},
            "spec": {**spec.changes(), **({} if spec.lens is None else {"lens": lens})},
            "dropped": task.dropped,
            "citation": task.citation,
            "licence": task.licence,
        }
        found += [ProbeResult(**of_law, **of_layer) for of_layer in _layers(posteriors, view, atoms, finite_L)]
    return found


def _decomposed(view: View, estimator: Estimator[Any], standard_errors: bool, device: torch.device | str) -> PIDResult:
    work = partial(estimator.decompose, standard_errors=standard_errors)
    return on_device(device, "decompose posteriors", work, view.sample).map(Tensor.cpu)


def _measured(view: View, measures: Sequence[str], device: torch.device | str) -> dict[str, Tensor]:
    """``<measure>_<atom>`` of every layer, bits; NaN where a measure did not converge."""
    if not measures:
        return {}
    panel = on_device(device, "decompose posteriors", partial(measure_panel, names=measures), view.sample)
    return {
        f"{name}_{atom}": torch.where(result.converged, bits, torch.nan).cpu()
        for name, result in panel.items()
        for atom, bits in result.atoms().items()
    }


def _layers(posteriors: Posteriors, view: View, atoms: PIDResult, finite_L: Tensor) -> Sequence[Mapping[str, Any]]:
    """What differs between layers."""
    residual_L = torch.stack(list(atoms.atoms().values())).sum(0) - atoms.total
    atoms = atoms.map(partial(_unsolved, finite_L=finite_L))
    tables = {name: value for name, value in atoms.diagnostics.items() if value.shape == residual_L.shape}
    tables |= {name: _unsolved(value, finite_L) for name, value in view.diagnostics.items()}
    tables["sum_rule_residual"] = _unsolved(residual_L, finite_L)
    accuracies = {name: _unsolved(value, finite_L) for name, value in view.accuracies.items()}
    return [
        {
            "layer": layer,
            "n_layers": posteriors.n_layers,
            "pid": replace(atoms[i], estimator=atoms.estimator),
            "n": view.n,
            "n_images": view.n_images,
            "n_questions": view.n_questions,
            "diagnostics": {**posteriors.details, **{name: float(value[i]) for name, value in tables.items()}},
            "seconds": posteriors.seconds,
            "tokens": posteriors.tokens,
            **{name: float(value[i]) for name, value in accuracies.items()},
        }
        for i, layer in enumerate(posteriors.layers)
    ]


def _warn_of_non_finite(posteriors: Posteriors, finite_L: Tensor) -> None:
    if bool(finite_L.all()):
        return
    lost = ", ".join(str(layer) for layer, fine in zip(posteriors.layers, finite_L.tolist(), strict=True) if not fine)
    warnings.warn(
        f"task {posteriors.task!r}: the posteriors of layer {lost} are not finite (an overflow in half precision, or a "
        "model that diverged): their atoms are NaN",
        RuntimeWarning,
        stacklevel=3,
    )


def _unsolved(value: Tensor, finite_L: Tensor) -> Tensor:
    """A value per layer without those of unsolved layers."""
    if value.shape[:1] != finite_L.shape or bool(finite_L.all()):
        return value
    where = finite_L.view(-1, *[1] * (value.ndim - 1))
    return value.where(where, torch.nan if value.is_floating_point() else False)
