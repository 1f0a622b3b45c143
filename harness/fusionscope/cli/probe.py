"""``fusionscope probe``: checkpoints x tasks x designs after training, resumable."""

import argparse
from pathlib import Path

from fusionscope.cli.request import (
    add_device_arguments,
    add_request_arguments,
    names_of,
    request_of,
    trusting,
    words_of,
)
from fusionscope.cli.workers import run_on, worker_of

HELP = "probe checkpoints and models after training; resumes"
EXAMPLE = "probe runs/sandbox --layers last"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; imports nothing heavy."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a run directory (all its checkpoints), .ckpt files, Hugging Face or adapter directories, hub names, "
        "globs; NAME=SOURCE gives one a name of its own",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="where the records go; default: RUN/probes of one run, else probes"
    )
    add_request_arguments(parser)
    add_device_arguments(parser)
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Probe what has no records yet, then draw the curves.

    Raises:
        ConfigError: Nothing to probe, no task, or settings that cannot be.
    """
    from fusionscope.records import RunDirectory, read_records
    from fusionscope.records.event_files import rebuild
    from fusionscope.study.sweep import merge

    out = _out(options)
    if options.worker:
        _sweep(options, out)
        return 0
    merge(out)
    if options.devices:
        try:
            run_on(names_of(options.devices), worker_command(options))
        finally:
            merge(out)
    else:
        _sweep(options, out)
    print(f"Records: {RunDirectory(out).records}\nCurves:  tensorboard --logdir {rebuild(read_records(out), out)}")
    print(f"Report:  fusionscope report {out}")
    return 0


def worker_command(options: argparse.Namespace) -> list[str]:
    """The same command for one worker."""
    command = ["probe", *options.sources, "--out", str(_out(options)), "--dtype", options.dtype, *trusting(options)]
    return [*command, *words_of(options)]


def _sweep(options: argparse.Namespace, out: Path) -> None:
    from fusionscope.probe import Execution
    from fusionscope.study.sweep import callback_settings, default_device, find_checkpoints, sweep

    checkpoints = find_checkpoints(options.sources)
    of_run = next((settings for c in reversed(checkpoints) if (settings := callback_settings(c.config))), {})
    request = request_of(options, of_run)
    made = sweep(
        checkpoints,
        request.tasks,
        request.specs,
        out,
        device=options.device or default_device(),
        dtype=options.dtype,
        trust=options.trust,
        worker=worker_of(options.worker),
        execution=Execution(batch_size=options.batch_size),
        say=lambda text: print(text, flush=True),
    )
    print(f"{made} probes made; the rest of {len(checkpoints)} checkpoints had their records", flush=True)


def _out(options: argparse.Namespace) -> Path:
    from fusionscope.records import RunDirectory

    if options.out:
        return Path(options.out)
    source = RunDirectory(options.sources[0])
    one_run = len(options.sources) == 1 and source.run.is_file()
    return source.probes.path if one_run else RunDirectory().probes.path
