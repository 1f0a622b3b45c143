"""What to measure and where, as the command line says it: parsed here once, for every command that probes."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusionscope.errors import ConfigError

if TYPE_CHECKING:
    from fusionscope.probe import ProbeSpec
    from fusionscope.tasks import TaskSpec

TRUST = (
    "trust who wrote the checkpoints: import the class that they name from wherever it is, and let DeepSpeed unpickle "
    "its directories; either can run any code"
)
_REPEATED = ("task", "task_set", "design", "set")
_SINGLE = ("law", "layers", "estimator", "batch_size")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure.

    Args:
        tasks: Held-out tasks.
        specs: How each is measured.
    """

    tasks: "list[TaskSpec]"
    specs: "list[ProbeSpec]"


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what to measure; imports nothing heavy."""
    parser.add_argument(
        "--task",
        action="append",
        metavar="NAME",
        help="a held-out task, such as pope/random or pope/random:path=data/pope; may be given several times; "
        "default: those of the run",
    )
    parser.add_argument(
        "--task-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of every --task's loader, such as path=data/pope",
    )
    parser.add_argument(
        "--design",
        action="append",
        metavar="NAME",
        help="crossed, learned, masked or another one, with options such as masked:mask=mean,draws=6; may be given "
        "several times; default: the run's or task's",
    )
    parser.add_argument("--law", metavar="NAMES", help="laws of questions: all, or names with commas: uniform,natural")
    parser.add_argument("--layers", metavar="LAYERS", help="all, last, or numbers with commas")
    parser.add_argument(
        "--estimator",
        metavar="NAME",
        help="exact, faithful, batch or another one, with options such as exact:tolerance=1e-6; default: the run's, or "
        "exact",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of fusionscope.probe.ProbeSpec, such as fallback=0.3; may be given several times",
    )
    parser.add_argument("--batch-size", type=int, help="sequences per pass; default: found automatically")


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say where models go; imports nothing heavy."""
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1, or auto to spread a large model")
    parser.add_argument("--devices", metavar="A,B", help="several devices, a process on each")
    parser.add_argument("--dtype", default="auto", help="dtype of Hugging Face models; default: as stored")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    parser.add_argument("--worker", help=argparse.SUPPRESS)


def request_of(options: argparse.Namespace, of_run: Mapping[str, Any]) -> Request:
    """Tasks and specifications: the command line's word, else what the run's own PIDCallback has, else the defaults.

    Args:
        options: Parsed arguments of `add_request_arguments`.
        of_run: ``tasks`` and ``spec`` of the run's own PIDCallback, where there is one.

    Raises:
        ConfigError: No task, or a setting that does not exist.
    """
    from fusionscope.plugins import called
    from fusionscope.probe import ProbeSpec
    from fusionscope.tasks import TaskSpec, settings_of

    defaults = settings_of(options.task_set, "--task-set")
    if options.task:
        tasks = [TaskSpec.parse(name, where="--task", defaults=defaults) for name in options.task]
    else:
        tasks = [TaskSpec.parse(task) for task in of_run.get("tasks", [])]
    if not tasks:
        raise ConfigError(
            "no task to probe", "these checkpoints name none themselves", "name one: --task sandbox/synergy"
        )
    settings = dict(of_run.get("spec") or {})
    settings |= settings_of(options.set, "--set")
    settings |= {"laws": "all" if options.law == "all" else names_of(options.law)} if options.law else {}
    settings |= {"layers": layers_of(options.layers)} if options.layers else {}
    settings |= _named("estimator", options.estimator) if options.estimator else {}
    designs = [_named("design", text) for text in options.design or ()]
    specs = [called("the probe's specification", ProbeSpec, settings | design) for design in designs or [{}]]
    return Request(tasks=tasks, specs=specs)


def words_of(options: argparse.Namespace) -> list[str]:
    """The arguments of `add_request_arguments` as a command line that says the same."""
    words = []
    for name in _REPEATED:
        words += [word for value in getattr(options, name) or () for word in (_flag(name), value)]
    for name in _SINGLE:
        value = getattr(options, name)
        words += [_flag(name), str(value)] if value is not None else []
    return words


def trusting(options: argparse.Namespace) -> list[str]:
    """``--trust`` as a command line says it."""
    return ["--trust"] if options.trust else []


def names_of(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def layers_of(text: str) -> str | tuple[int, ...]:
    """``all``, ``last`` or numbers with commas.

    Raises:
        ConfigError: Anything else.
    """
    if text in ("all", "last"):
        return text
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--layers {text}", "it is all, last or numbers", "such as --layers 0,16,-1") from error


def _named(what: str, text: str) -> dict[str, Any]:
    """A design or an estimator with its options as the command line writes them: ``masked:mask=mean,draws=6``."""
    from fusionscope.tasks import settings_of

    name, _, rest = text.partition(":")
    return {what: name, f"{what}_options": settings_of(names_of(rest), f"--{what} {text}")}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
