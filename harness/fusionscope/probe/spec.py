"""What a probe measures, as plain data.

The same object, or YAML of it, is what `fusionscope.probe.probe`, both callbacks, sweeps, profiles and the command line
take. How a probe is run (batch sizes, caches, progress) changes no number and is an `Execution`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from fusionscope.errors import ConfigError, InputError, UnknownNameError
from fusionscope.pid.estimators import Estimator, GridSample, get_estimator
from fusionscope.pid.measures import get_measure
from fusionscope.probe.designs.base import Design, get_design
from fusionscope.probe.engine.scoring import Scoring
from fusionscope.tasks import HeldOutTask

_PER_RECORD = ("layers", "max_bad_images")
"""Fields that decide which records there are, and not what a record holds."""


@dataclass(frozen=True, kw_only=True)
class ProbeSpec:
    """What to measure: everything that may change a number.

    Args:
        design: Where p(answer | image) and p(answer | question) come from, by name. None is each task's own default:
            ``"crossed"`` where every question makes sense with every image, else ``"rows"``, the natural pairs and what
            they identify; nothing is masked or learned unasked.
        design_options: Options of the design, such as ``{"mask": "mean", "draws": 6}`` of ``"masked"``.
        estimator: The estimator of the decomposition, by name.
        estimator_options: Options of the estimator.
        laws: Under which laws of questions: names, or ``"all"`` that the task has in this design.
        layers: ``"all"``, ``"last"``, a number or several: 0 is the input embeddings, i the i-th decoder layer, -1 the
            last one.
        scoring: How candidates are scored, see `fusionscope.probe.engine.scoring.build_rows`.
        lens: Path of a tuned lens, or a lens; None is the model's own norm and head, the logit lens.
        fallback: Uniform distribution where the options hold less than this mass (the paper's 0.3); None keeps them.
        max_pairs: Designs over natural pairs use at most this many, drawn by the seed (``"rows"``: whole images); None
            uses all.
        max_bad_images: Maximum number of images that cannot be read; they are left out and counted.
        seed: Of everything that is drawn; the global random state is never used.
        standard_errors: Compute them.
        measures: Other redundancies whose atoms are recorded beside the estimator's, by name, see
            `fusionscope.pid.measures`: ``["I_min", "I_dep"]``. They need a crossed grid.

    Raises:
        UnknownNameError: A design, estimator, scoring or measure that does not exist.
        ConfigError: An option that the design or the estimator does not take.
        InputError: A value of the wrong type or outside its range.

    Example:
        >>> ProbeSpec(design="masked", design_options={"mask": "mean", "draws": 6}).changes()
        {'design': 'masked', 'design_options': {'mask': 'mean', 'draws': 6}}
    """

    design: str | None = None
    design_options: Mapping[str, Any] = field(default_factory=dict)
    estimator: str = "exact"
    estimator_options: Mapping[str, Any] = field(default_factory=dict)
    laws: str | Sequence[str] = "all"
    layers: str | int | Sequence[int] = "all"
    scoring: Scoring = "auto"
    lens: Any = None
    fallback: float | None = None
    max_pairs: int | None = None
    max_bad_images: int = 0
    seed: int = 0
    standard_errors: bool = True
    measures: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._normalise()
        self._check_values()
        if self.design is not None:
            get_design(self.design, self.design_options)
        elif self.design_options:
            raise ConfigError(
                f"design_options {dict(self.design_options)} without a design",
                "each task then has its own default design, and options belong to one",
                "name the design",
            )
        get_estimator(self.estimator, **self.estimator_options)
        for name in self.measures:
            get_measure(name)

    def design_of(self, task: HeldOutTask) -> Design:
        """The design that a task is probed in.

        Raises:
            InputError: The task cannot be probed in this design.
        """
        name = self.design or task.default_design or ("crossed" if task.crossable else "rows")
        design = get_design(name, self.design_options)
        design.check(task)
        return design

    def make_estimator(self) -> Estimator[Any]:
        """The estimator with its options."""
        return get_estimator(self.estimator, **self.estimator_options)

    def check(self, task: HeldOutTask) -> None:
        """Refuse now what can be known to be refused without the model.

        Raises:
            InputError: The task cannot be probed in this design.
            ConfigError: Its posteriors cannot be decomposed by this estimator, or have no measures.
            UnknownNameError: A law that the task does not have.
        """
        design = self.design_of(task)
        self.make_estimator().check_usable(design.sample, features=design.has_features)
        if self.measures and design.sample is not GridSample:
            raise ConfigError(
                f"measures {', '.join(self.measures)} of task {task.name!r} in design {design.name!r}",
                "they read p(image, question) and p(answer | image, question) from a crossed grid, and this has none",
                "use design='crossed', or measures=[]",
            )
        design.laws(task, self.laws)
        design.sample_size(task, self)

    def variant(self, design: Design, law: str, lens: str = "logit") -> str:
        """What of a measurement is not default, as a short string of letters, digits and ``+:,=.-_``.

        Args:
            design: The design in use.
            law: The law of questions.
            lens: Name of the lens in use.

        Example:
            >>> design = get_design("masked", {"mask": "mean", "draws": 6})
            >>> ProbeSpec(seed=1).variant(design, "natural")
            'masked:mean,draws=6+seed=1'
        """
        parts = [_with_options(design.name, design)]
        parts += [] if law == design.default_law else [law]
        estimator = _with_options(self.estimator, self.make_estimator())
        parts += [] if estimator == "exact" else [estimator]
        parts += [] if lens == "logit" else [f"lens={lens}"]
        parts += [
            f"{name}={_short(getattr(self, name))}"
            for name in ("scoring", "fallback", "max_pairs", "seed", "standard_errors")
            if getattr(self, name) != _DEFAULTS[name]
        ]
        return "+".join(parts)

    def fingerprint(self, design: Design, law: str, lens: str = "logit") -> str:
        """A hash of everything that may change a record's numbers, defaults included."""
        whole = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _PER_RECORD}
        whole |= {
            "design": design.name,
            "design_options": asdict(design),
            "estimator_options": asdict(self.make_estimator()),
            "laws": law,
            "lens": lens,
        }
        text = json.dumps(whole, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def changes(self) -> dict[str, Any]:
        """The fields that are not default, as YAML and JSON hold them.

        `ProbeSpec` of them is equal to this one, unless the lens is an object: that is written as its name.
        """
        return {
            name: _plain(getattr(self, name)) for name, default in _DEFAULTS.items() if getattr(self, name) != default
        }

    def _normalise(self) -> None:
        changed = {
            "design_options": dict(self.design_options),
            "estimator_options": dict(self.estimator_options),
            "laws": _names(self.laws),
            "layers": _numbers(self.layers),
            "measures": (self.measures,) if isinstance(self.measures, str) else tuple(self.measures),
        }
        for name, value in changed.items():
            object.__setattr__(self, name, value)

    def _check_values(self) -> None:
        if self.scoring not in get_args(Scoring):
            raise UnknownNameError(
                f"scoring {self.scoring!r}", f"known are {', '.join(get_args(Scoring))}", "use one of them"
            )
        for name, (lowest, meaning) in _LOWEST.items():
            value = getattr(self, name)
            if value is None and _DEFAULTS[name] is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise InputError(f"{name}={value!r}", meaning, f"use a whole number of {lowest} or more")
        if not isinstance(self.standard_errors, bool):
            raise InputError(f"standard_errors={self.standard_errors!r}", "it is true or false", "use one of them")
        plain = isinstance(self.fallback, int | float) and not isinstance(self.fallback, bool)
        if self.fallback is not None and not (plain and 0 <= self.fallback <= 1):
            raise InputError(f"fallback={self.fallback!r}", "it is a probability", "use 0.3, the paper's, or None")


_DEFAULTS: dict[str, Any] = {f.name: {} if f.name.endswith("_options") else f.default for f in fields(ProbeSpec)}
_LOWEST: dict[str, tuple[int, str]] = {
    "max_pairs": (1, "there is nothing to decompose without pairs"),
    "max_bad_images": (0, "it is the maximum number of images that are left out"),
    "seed": (0, "it seeds a random generator"),
}


def _names(laws: str | Sequence[str]) -> str | tuple[str, ...]:
    if laws == "all":
        return "all"
    names = (laws,) if isinstance(laws, str) else tuple(laws)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"laws={laws!r}", "it is 'all', a name or several", "such as ['uniform', 'natural']")
    return names


def _numbers(layers: str | int | Sequence[int]) -> str | tuple[int, ...]:
    if isinstance(layers, str):
        if layers in ("all", "last"):
            return layers
    elif not isinstance(layers, bool):
        numbers = (layers,) if isinstance(layers, int) else tuple(layers)
        if numbers and all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
            return numbers
    raise InputError(f"layers={layers!r}", "it is 'all', 'last', a number or several", "such as [0, 16, -1]")


def _with_options(name: str, made: Any) -> str:
    """A name with those options that are not default: ``masked:mean,draws=6``."""
    default = type(made)()
    changed = [
        (f.name, getattr(made, f.name)) for f in fields(made) if getattr(made, f.name) != getattr(default, f.name)
    ]
    options = [str(value) if isinstance(value, str) else f"{key}={_short(value)}" for key, value in changed]
    return f"{name}:{','.join(options)}" if options else name


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, str | int | float | bool | dict) else getattr(value, "name", "")
