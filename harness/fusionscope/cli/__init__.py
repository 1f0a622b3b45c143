"""The command ``fusionscope``. Heavy imports wait until a subcommand needs them."""

import argparse
import sys
from collections.abc import Sequence

from fusionscope.cli import export, probe, profile, recipes
from fusionscope.errors import FusionscopeError

_LIGHTNING = ("fit", "validate", "test", "predict")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status; an error of ours is printed without a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in _LIGHTNING:
            from fusionscope.cli.fit import lightning_cli

            return lightning_cli(arguments)
        options = _parser().parse_args(arguments)
        return int(options.call(options))
    except FusionscopeError as error:
        print(f"\nfusionscope: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fusionscope",
        description="Train or load a vision-language model and see, in bits, how it uses vision, language and fusion.",
        epilog="fit, validate, test and predict are LightningCLI's: fusionscope fit --help",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the stages of a recipe in order, in one run directory; resumes")
    run.add_argument("recipe", help="a recipe that we ship, a directory with one YAML file a stage, or one file")
    run.add_argument("--run-dir", help="where to run it (default: runs/NAME, NAME being the recipe's)")
    run.add_argument("--seed", type=int, help="seed of every stage, instead of the recipe's")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every stage")
    run.set_defaults(call=_run)

    probe.add_arguments(commands.add_parser("probe", help="probe checkpoints and models after training; resumes"))

    profile.add_arguments(commands.add_parser("profile", help="compare models over tasks; resumes"))

    report = commands.add_parser("report", help="draw the page and the figures of a run and print its table")
    report.add_argument("run_dir", help="a directory with records.jsonl: of a run, a probe sweep or a profile")
    report.set_defaults(call=_report)

    board = commands.add_parser("tensorboard", help="rebuild the event files of a run from its records")
    board.add_argument("run_dir", help="a directory with records.jsonl")
    board.set_defaults(call=_tensorboard)

    export.add_arguments(commands.add_parser("export", help="write a checkpoint as a whole Hugging Face model"))

    recipes.add_arguments(commands.add_parser("recipes", help="list, show or copy the recipes that we ship"))

    for name in _LIGHTNING:
        commands.add_parser(name, help=f"LightningCLI {name} with one YAML file: fusionscope {name} --config X.yaml")
    return parser


def _run(options: argparse.Namespace) -> int:
    from fusionscope.cli.run import run

    return run(options.recipe, run_dir=options.run_dir, seed=options.seed, settings=options.set)


def _report(options: argparse.Namespace) -> int:
    from fusionscope.study import report

    print(report(options.run_dir))
    return 0


def _tensorboard(options: argparse.Namespace) -> int:
    from pathlib import Path

    from fusionscope.records import Journey
    from fusionscope.study.board import rebuild
    from fusionscope.study.report import read_records

    directory = Path(options.run_dir)
    folder = rebuild(read_records(directory), directory, Journey.find(directory))
    print(f"Rebuilt from {directory / 'records.jsonl'}: tensorboard --logdir {folder}")
    return 0
