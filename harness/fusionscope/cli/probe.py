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
        help="crossed, learned, masked or another one, with options such as masked:mask=mean,draws=6; may be given "
        "several times; default: the run's or task's",
    )
    parser.add_argument("--law", metavar="NAMES", help="laws of questions: all, or names with commas: uniform,natural")
    parser.add_argument("--layers", metavar="LAYERS", help="all, last, or numbers with commas")
    parser.add_argument("--estimator", metavar="NAME", help="default: the run's, or exact")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of fusionscope.probe.ProbeSpec, such as fallback=0.3; may be given several times",
    )
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
    from fusionscope.probe import Execution
    from fusionscope.study.report.board import rebuild
    from fusionscope.study.report.build import read_records
    from fusionscope.study.sweep.checkpoints import find_checkpoints
    from fusionscope.study.sweep.models import default_device
    from fusionscope.study.sweep.run import merge, sweep, sweep_on

    checkpoints = find_checkpoints(options.sources)
    tasks, specs = _request(options, checkpoints)
    execution = Execution(batch_size=options.batch_size)
    out = _out(options)
    if options.devices:
        sweep_on(names_of(options.devices), _command(options), out)
    else:
        if not options.share:
            merge(out)
        made = sweep(
            checkpoints,
            tasks,
            specs,
            out,
            device=options.device or default_device(),
            dtype=options.dtype,
            share=share_of(options.share),
            execution=execution,
            say=lambda text: print(text, flush=True),
        )
        print(f"{made} probes made; the rest of {len(checkpoints)} checkpoints had their records", flush=True)
    if not options.share:
        print(f"Records: {out / 'records.jsonl'}\nCurves:  tensorboard --logdir {rebuild(read_records(out), out)}")
        print(f"Report:  fusionscope report {out}")
    return 0


def _request(options: argparse.Namespace, checkpoints: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Tasks and specifications: the command line's word, else what the run's own PIDCallback has, else the defaults."""
    from fusionscope.plugins import called
    from fusionscope.probe import ProbeSpec
    from fusionscope.study.sweep.checkpoints import callback_settings
    from fusionscope.tasks import TaskSpec, settings_of

    of_run = next((settings for c in reversed(checkpoints) if (settings := callback_settings(c.config))), {})
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
    settings |= {"laws": names_of(options.law) if options.law != "all" else "all"} if options.law else {}
    settings |= {"layers": layers_of(options.layers)} if options.layers else {}
    settings |= {"estimator": options.estimator, "estimator_options": {}} if options.estimator else {}
    designs: list[dict[str, Any]] = [_design(text) for text in options.design or ()]
    return tasks, [called("the probe's specification", ProbeSpec, settings | design) for design in designs or [{}]]


def _design(text: str) -> dict[str, Any]:
    """A design with its options as the command line writes them: ``masked:mask=mean,draws=6``."""
    from fusionscope.tasks import settings_of

    name, _, rest = text.partition(":")
    return {"design": name, "design_options": settings_of(names_of(rest), f"--design {text}")}


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


def _out(options: argparse.Namespace) -> Path:
    from fusionscope.records import RunDirectory

    if options.out:
        return Path(options.out)
    source = RunDirectory(options.sources[0])
    one_run = len(options.sources) == 1 and source.run.is_file()
    return source.probes.path if one_run else RunDirectory().probes.path


def share_of(text: str | None) -> tuple[int, int]:
    """A worker's number and how many there are, from ``0/4``."""
    number, _, workers = (text or "0/1").partition("/")
    return int(number), int(workers)


def _command(options: argparse.Namespace) -> list[str]:
    """The same command for one worker."""
    command = ["probe", *options.sources, "--out", str(_out(options)), "--dtype", options.dtype]
    repeated = {
        "--task": options.task,
        "--task-set": options.task_set,
        "--design": options.design,
        "--set": options.set,
    }
    for flag, values in repeated.items():
        command += [word for value in values or () for word in (flag, value)]
    single = {
        "--law": options.law,
        "--layers": options.layers,
        "--estimator": options.estimator,
        "--batch-size": options.batch_size,
    }
    for flag, value in single.items():
        command += [flag, str(value)] if value is not None else []
    return command
