"""``fusionscope probe``: checkpoints x tasks x designs after training, resumable."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; imports nothing heavy."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE",
        help="a run directory (all its checkpoints), .ckpt files, Hugging Face or adapter directories, hub names, "
        "globs; NAME=SOURCE gives one a name of its own",
    )  # fmt: skip
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
        help="crossed, learned or masked; may be given several times; default: the run's or task's",
    )
    parser.add_argument(
        "--weights",
        metavar="NAMES",
        help="which pairs of pictures and questions: all, or names with commas such as uniform,natural",
    )
    parser.add_argument("--layers", metavar="LAYERS", help="all, last, or numbers with commas")
    parser.add_argument("--estimator", metavar="NAME", help="default: the run's, or exact")
    parser.add_argument(
        "--out", metavar="DIR", help="where the records go; default: RUN/probes of one run, else probes"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1, or auto to spread a large model")
    parser.add_argument("--devices", metavar="A,B", help="several devices, a process on each")
    parser.add_argument("--dtype", default="auto", help="dtype of Hugging Face models; default: as stored")
    parser.add_argument("--batch-size", type=int, help="sequences per pass; default: found automatically")
    parser.add_argument("--share", help=argparse.SUPPRESS)
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the sweep, then draw its curves."""
    from fusionscope.study.report.board import rebuild
    from fusionscope.study.report.build import read_records
    from fusionscope.study.sweep.checkpoints import find_checkpoints
    from fusionscope.study.sweep.models import default_device
    from fusionscope.study.sweep.run import merge, sweep, sweep_on

    checkpoints = find_checkpoints(options.sources)
    plan = _plan(options, checkpoints)
    out = _out(options)
    if options.devices:
        sweep_on(names_of(options.devices), _command(options), out)
    else:
        if not options.share:
            merge(out)
        made = sweep(
            checkpoints, plan, out, device=options.device or default_device(), dtype=options.dtype,
            share=share_of(options.share), say=lambda text: print(text, flush=True),
        )  # fmt: skip
        print(f"{made} probes made; the rest of {len(checkpoints)} checkpoints had their records", flush=True)
    if not options.share:
        print(f"Records: {out / 'records.jsonl'}\nCurves:  tensorboard --logdir {rebuild(read_records(out), out)}")
        print(f"Report:  fusionscope report {out}")
    return 0


def _plan(options: argparse.Namespace, checkpoints: Sequence[Any]) -> Any:
    """What to measure: the command line's word, else what the run's own PIDCallback was told, else the defaults."""
    from fusionscope.study.sweep.checkpoints import callback_settings
    from fusionscope.study.sweep.run import Plan
    from fusionscope.tasks import TaskSpec

    told = next((found for c in reversed(checkpoints) if (found := callback_settings(c.config))), {})
    if options.task:
        settings = settings_of(options.task_set)
        tasks = [TaskSpec.parse(name, where="--task", defaults=settings) for name in options.task]
    else:
        tasks = [TaskSpec.parse(task) for task in told.get("tasks", [])]
    if not tasks:
        raise ConfigError(
            "no task to probe", "these checkpoints name none themselves", "name one: --task sandbox/synergy"
        )
    settings = dict(told.get("probe_settings") or {})
    if options.batch_size:
        settings["batch_size"] = options.batch_size
    designs = options.design or [told.get("design")]
    weights = options.weights or told.get("weights") or "all"
    layers = options.layers or told.get("layers") or "all"
    return Plan(
        tasks=tasks,
        designs=designs,
        weights=names_of(weights) if isinstance(weights, str) and weights != "all" else weights,
        layers=layers_of(layers) if isinstance(layers, str) else layers,
        estimator=options.estimator or told.get("estimator") or "exact",
        settings=settings,
    )


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


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` pairs, the values read as YAML.

    Raises:
        ConfigError: A pair without ``=``, or whose value is no YAML.
    """
    from fusionscope import tasks

    return tasks.settings_of(pairs, "--task-set")


def _out(options: argparse.Namespace) -> Path:
    if options.out:
        return Path(options.out)
    one_run = len(options.sources) == 1 and (Path(options.sources[0]) / "journey.json").is_file()
    return Path(options.sources[0]) / "probes" if one_run else Path("probes")


def share_of(text: str | None) -> tuple[int, int]:
    """A worker's number and how many there are, from ``0/4``."""
    number, _, workers = (text or "0/1").partition("/")
    return int(number), int(workers)


def _command(options: argparse.Namespace) -> list[str]:
    """The same command for one worker."""
    command = ["probe", *options.sources, "--out", str(_out(options)), "--dtype", options.dtype]
    for flag, values in (("--task", options.task), ("--task-set", options.task_set), ("--design", options.design)):
        command += [word for value in values or () for word in (flag, value)]
    for flag, value in (
        ("--weights", options.weights), ("--layers", options.layers), ("--estimator", options.estimator),
        ("--batch-size", options.batch_size),
    ):  # fmt: skip
        command += [flag, str(value)] if value is not None else []
    return command
