"""A probe's result as a record."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fusionscope.lvlm import LVLM
from fusionscope.pid import PIDResult, confidence_intervals
from fusionscope.probe.result import ProbeResult
from fusionscope.records import Record

_PACKAGES = ("fusionscope", "torch", "transformers")


def to_record(
    result: ProbeResult,
    *,
    run: str,
    run_name: str,
    attempt: int = 1,
    step: int,
    stage: str,
    stage_step: int,
    model: str,
    baseline: bool = False,
) -> Record:
    """The row that keeps a result.

    Args:
        result: One layer of one probe.
        run: Identity of the run.
        run_name: Name of the run for people.
        attempt: Number of the attempt at the run.
        step: Optimizer steps since the run began.
        stage: Name of the stage.
        stage_step: Optimizer steps since the stage began.
        model: Name or path of the model.
        baseline: Whether this was before the training under study.
    """
    pid = result.pid
    errors = {atom: float(error) for atom, error in pid.standard_errors.items()}
    atoms: dict[str, Any] = {atom: float(value) for atom, value in pid.atoms().items()}
    return Record(
        run=run,
        run_name=run_name,
        attempt=attempt,
        step=step,
        stage=stage,
        stage_step=stage_step,
        task=result.task,
        variant=result.variant,
        design=result.design,
        law=result.law,
        estimator=result.estimator,
        layer=result.layer,
        n_layers=result.n_layers,
        **atoms,
        total=float(pid.total),
        union_lower=float(pid.union_lower),
        union_upper=float(pid.union_upper),
        converged=bool(pid.converged),
        n=result.n,
        n_images=result.n_images,
        n_questions=result.n_questions,
        accuracy=result.accuracy,
        accuracy_without_image=result.accuracy_without_image,
        accuracy_without_text=result.accuracy_without_text,
        standard_errors=errors,
        intervals=_intervals(pid),
        identified={name: (float(low), float(high)) for name, (low, high) in pid.identified.items()},
        diagnostics=dict(result.diagnostics),
        seconds=result.seconds,
        tokens=result.tokens,
        model=model,
        baseline=baseline,
        fingerprints=dict(result.fingerprints),
        spec=dict(result.spec),
        dropped=dict(result.dropped),
        citation=result.citation,
        licence=result.licence,
        versions=_versions(),
    )


def model_name(lvlm: LVLM) -> str:
    """Name or path that a model was loaded from, its class where it was built from a configuration."""
    config = getattr(lvlm.model, "config", None)
    return str(getattr(config, "_name_or_path", "") or type(lvlm.model).__name__)


def _intervals(pid: PIDResult) -> dict[str, tuple[float, float]]:
    if not pid.standard_errors:
        return {}
    return {atom: (float(lower), float(upper)) for atom, (lower, upper) in confidence_intervals(pid).items()}


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
