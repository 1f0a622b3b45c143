"""``fusionscope profile``: models x tasks, one table, what follows from it."""

import argparse
import shutil
from pathlib import Path
from typing import Any

from fusionscope.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; imports nothing heavy."""
    parser.add_argument("spec", help="a YAML file of models and tasks, or the name of one that we ship: paper26")
    parser.add_argument("--out", metavar="DIR", help="where everything goes; default: profiles/NAME of the file")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1, or auto to spread a large model")
    parser.add_argument("--devices", metavar="A,B", help="several devices, a process on each")
    parser.add_argument("--dtype", default="auto", help="dtype of the models; default: as stored")
    parser.add_argument("--share", help=argparse.SUPPRESS)
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Probe what has no records yet, then write tables, figures and the page."""
    from fusionscope.cli.recipes import known_recipes
    from fusionscope.records import RecordFile
    from fusionscope.study.comparison.profile import SPEC, read_profile
    from fusionscope.study.report.build import report
    from fusionscope.study.sweep.run import RECORDS, merge

    spec = known_recipes().get(f"profile/{options.spec}", Path(options.spec))
    profile = read_profile(spec)
    out = Path(options.out or Path("profiles") / spec.stem)
    out.mkdir(parents=True, exist_ok=True)
    if not options.share:
        if not (out / SPEC).exists() or not (out / SPEC).samefile(spec):
            shutil.copyfile(spec, out / SPEC)
        merge(out)
    failure = None
    try:
        _probe(options, spec, profile, out)
    except ConfigError as error:
        failure = error  # of some models; the others are compared first
    if not options.share and (failure is None or RecordFile(out / RECORDS).read()):
        print(report(out))
    if failure is not None:
        raise failure
    return 0


def _probe(options: argparse.Namespace, spec: Path, profile: Any, out: Path) -> None:
    from fusionscope.cli.probe import names_of, share_of
    from fusionscope.probe import Execution
    from fusionscope.study.sweep.models import default_device
    from fusionscope.study.sweep.run import sweep, sweep_on

    if options.devices:
        command = ["profile", str(spec), "--out", str(out), "--dtype", options.dtype]
        sweep_on(names_of(options.devices), command, out)
    else:
        made = sweep(
            profile.checkpoints(),
            profile.tasks,
            [profile.spec],
            out,
            device=options.device or default_device(),
            dtype=options.dtype,
            share=share_of(options.share),
            keep_going=True,
            execution=Execution(batch_size=profile.batch_size),
            say=lambda text: print(text, flush=True),
        )
        print(f"{made} probes made", flush=True)
