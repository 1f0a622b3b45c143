"""``fusionscope profile``: models x tasks, one table, what follows from it."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fusionscope.cli.recipes import known_recipes
from fusionscope.cli.request import add_device_arguments, names_of, trusting
from fusionscope.cli.workers import run_on, worker_of
from fusionscope.errors import ConfigError

if TYPE_CHECKING:
    from fusionscope.study.comparison import Profile

HELP = "compare models over tasks; resumes"
EXAMPLE = "profile my-models.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; imports nothing heavy."""
    parser.add_argument("spec", help="a YAML file of models and tasks, or the name of one that we ship: paper26")
    parser.add_argument("--out", metavar="DIR", help="where everything goes; default: profiles/NAME of the file")
    add_device_arguments(parser)
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Probe what has no records yet, then write tables, figures and the page.

    Raises:
        ConfigError: A file that is no profile, or models that failed; the others are compared first.
    """
    from fusionscope.records import RecordFile, RunDirectory
    from fusionscope.study import comparison
    from fusionscope.study.sweep import merge

    spec = known_recipes().get(f"profile/{options.spec}", Path(options.spec))
    profile = comparison.read_profile(spec)
    out = Path(options.out or Path("profiles") / spec.stem)
    if options.worker:
        _sweep(options, profile, out)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    kept = RunDirectory(out).profile
    if not kept.exists() or not kept.samefile(spec):
        shutil.copyfile(spec, kept)
    merge(out)
    failure = None
    try:
        if options.devices:
            run_on(
                names_of(options.devices),
                ["profile", str(spec), "--out", str(out), "--dtype", options.dtype, *trusting(options)],
            )
        else:
            _sweep(options, profile, out)
    except ConfigError as error:
        failure = error
    merge(out)
    if failure is None or RecordFile(RunDirectory(out).records).read():
        print(comparison.report(out))
    if failure is not None:
        raise failure
    return 0


def _sweep(options: argparse.Namespace, profile: "Profile", out: Path) -> None:
    from fusionscope.probe import Execution
    from fusionscope.study.sweep import default_device, sweep

    made = sweep(
        profile.checkpoints(),
        profile.tasks,
        [profile.spec],
        out,
        device=options.device or default_device(),
        dtype=options.dtype,
        trust=options.trust,
        worker=worker_of(options.worker),
        keep_going=True,
        execution=Execution(batch_size=profile.batch_size),
        say=lambda text: print(text, flush=True),
    )
    print(f"{made} probes made", flush=True)
