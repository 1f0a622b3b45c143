"""One record: what one probe of one layer of one task found, at one step of a run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import nan
from typing import Any, NamedTuple

from fusionscope.errors import DataError

SCHEMA = 3
READABLE = (1, 2, SCHEMA)
Z_95 = 1.959963984540054
ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
_NUMBERS = (
    *ATOMS,
    "total",
    "union_lower",
    "union_upper",
    "accuracy",
    "accuracy_without_image",
    "accuracy_without_text",
    "seconds",
)


class Series(NamedTuple):
    """The curve that a record is a point of, its layer aside.

    Args:
        task: Name of the held-out task.
        variant: What of the measurement is not default.
    """

    task: str
    variant: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """A flat row; one line of ``records.jsonl``.

    Args:
        run: Identity of the run; it stays when the run's directory is renamed. A model's name where no run made it.
        run_name: Name of the run for people.
        attempt: Number of the attempt at the run, from 1; see `fusionscope.records.Attempt`.
        step: Optimizer steps since the run began, over all its stages.
        stage: Name of the stage.
        stage_step: Optimizer steps since the stage began.
        task: Name of the held-out task.
        variant: What of the measurement is not default, as a short string (`fusionscope.probe.ProbeSpec.variant`).
        design: How the unimodal posteriors were obtained.
        law: The law of questions: ``uniform`` (independent images and questions) or ``natural`` (natural pairs).
        estimator: The PID estimator.
        layer: 0 for the embeddings, i for the hidden state after decoder layer i.
        n_layers: Number of decoder layers of the model.
        redundancy, unique_vision, unique_language, synergy: The atoms, in bits, signed.
        total: I(X1, X2; Y) in bits.
        union_lower, union_upper: Certified bounds of the union information, in bits.
        standard_errors: Standard error of each atom and of ``total``, in bits; empty where none was asked for.
        intervals: Lower and upper end of each atom's 95 % interval, in bits, from
            `fusionscope.pid.confidence_intervals`; empty without standard errors, and in records of schema 1.
        identified: Lower and upper end of what the data identify of each quantity, sampling error at 95 % included, in
            bits; empty where the posteriors identify a point.
        converged: Whether the estimate is certified; False means that the atoms must not be used.
        n, n_images, n_questions: Pairs, images and questions probed.
        accuracy, accuracy_without_image, accuracy_without_text: Fraction of right answers, NaN where no truth is known.
        diagnostics: Option mass, fallback rate, marginal mismatch, sum-rule residual and the like.
        seconds, tokens: What the probe that gave this record cost, over all its layers and laws.
        model: Name or path of the model.
        baseline: Whether this was before the training under study (an onset is looked for after it).
        fingerprints: Hashes of ``task`` (content), ``model`` (weights) and ``spec`` (how it was measured): records with
            equal ones hold the same measurement. Empty in records of schema 1 and 2.
        spec: The settings of the specification that are not default.
        dropped: How many rows or images of the task's source were left out, by reason.
        citation, licence: Of the task's source.
        versions: Versions of the packages that made the number.
        schema: Version of this row's layout.
    """

    run: str
    run_name: str
    attempt: int = 1
    step: int
    stage: str
    stage_step: int
    task: str
    variant: str
    design: str
    law: str
    estimator: str
    layer: int
    n_layers: int
    redundancy: float
    unique_vision: float
    unique_language: float
    synergy: float
    total: float
    union_lower: float
    union_upper: float
    converged: bool
    n: int
    n_images: int
    n_questions: int
    accuracy: float = nan
    accuracy_without_image: float = nan
    accuracy_without_text: float = nan
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    identified: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = nan
    tokens: int = 0
    model: str = ""
    baseline: bool = False
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    citation: str = ""
    licence: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def key(self) -> tuple[Any, ...]:
        """What identifies a record: a later line of the same key replaces an earlier one."""
        return (self.run, self.attempt, self.step, self.stage, *self.series, self.layer)

    @property
    def place(self) -> tuple[Any, ...]:
        """What a record measured and where, whichever attempt it belongs to."""
        return (self.run, self.step, self.stage, *self.series, self.layer)

    @property
    def series(self) -> Series:
        """The curve that the record is a point of, its layer aside."""
        return Series(self.task, self.variant)

    @property
    def atoms(self) -> dict[str, float]:
        """The four atoms by name, in bits."""
        return {atom: getattr(self, atom) for atom in ATOMS}

    def interval(self, atom: str) -> tuple[float, float]:
        """Ends of an atom's 95 % interval, in bits; NaN where there is none.

        What the data identify of it where that is an interval, sampling error included; else the interval of the
        estimate as stored, or the normal one.
        """
        if atom in self.identified:
            return self.identified[atom]
        value, margin = getattr(self, atom), Z_95 * self.standard_errors.get(atom, nan)
        return self.intervals.get(atom, (value - margin, value + margin))

    def to_json(self) -> dict[str, Any]:
        """A dictionary that strict JSON can hold: NaN becomes None."""
        return {name: _strict(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Record":
        """The record of a row written by `to_json`, of this schema or an earlier one.

        Raises:
            DataError: Another schema, or missing or unknown columns.
        """
        schema = row.get("schema") if isinstance(row, Mapping) else None
        if schema not in READABLE:
            raise DataError(
                f"a record of schema {schema!r}",
                f"this version of fusionscope reads the schemas {', '.join(map(str, READABLE))}",
                "read it with the version that wrote it, or probe the checkpoints again",
            )
        row = row if schema == SCHEMA else _upgraded(row)
        known = {f.name for f in fields(cls)}
        if set(row) != known:
            raise DataError(
                f"a record whose columns miss {sorted(known - set(row))} and add {sorted(set(row) - known)}",
                f"schema {schema} has exactly the columns of Record",
                "check that the file was written by fusionscope",
            )
        return cls(**{name: _loose(name, value) for name, value in row.items() if name != "schema"})


def _upgraded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of schema 1 (without ``intervals``) or 2 (keyed by design, weights and estimator alone) as one of 3."""
    new = {name: value for name, value in row.items() if name != "weights"}
    default = "uniform" if row.get("design") == "crossed" else "natural"
    parts = [row.get("design", "")]
    parts += [] if row.get("weights") == default else [row.get("weights", "")]
    parts += [] if row.get("estimator") == "exact" else [row.get("estimator", "")]
    new |= {"law": row.get("weights", ""), "variant": "+".join(map(str, parts)), "run_name": row.get("run", "")}
    new |= {"attempt": 1, "citation": "", "licence": "", "schema": SCHEMA}
    empty = ("identified", "fingerprints", "spec", "dropped")
    return {"intervals": {}, **new, **{name: {} for name in empty}}


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_strict(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def _loose(name: str, value: Any) -> Any:
    if name in ("intervals", "identified"):
        return {atom: tuple(nan if end is None else end for end in ends) for atom, ends in value.items()}
    if name == "spec":
        return value
    if isinstance(value, Mapping):
        return {k: nan if v is None else v for k, v in value.items()}
    return nan if value is None and name in _NUMBERS else value
