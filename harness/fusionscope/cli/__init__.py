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

    def command(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"example: fusionscope {example}"
        )

    run = command("run", "run the stages of a recipe in order, in one run directory; resumes", "run sandbox --seed 1")
    run.add_argument("recipe", help="a recipe that we ship, a directory with one YAML file a stage, or one file")
    run.add_argument("--run-dir", help="where to run it (default: runs/NAME, NAME being the recipe's)")
    run.add_argument("--seed", type=int, help="seed of every stage, instead of the recipe's")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a setting of every stage, such as trainer.max_steps=10; may be given several times",
    )  # fmt: skip
    run.set_defaults(call=_run)

    probe.add_arguments(
        command("probe", "probe checkpoints and models after training; resumes", "probe runs/sandbox --layers last")
    )

    profile.add_arguments(command("profile", "compare models over tasks; resumes", "profile my-models.yaml"))

    report = command("report", "draw the page and the figures of a run and print its table", "report runs/sandbox")
    report.add_argument("run_dir", help="a directory with records.jsonl: of a run, a probe sweep or a profile")
    report.set_defaults(call=_report)

    board = command("tensorboard", "rebuild the event files of a run from its records", "tensorboard runs/sandbox")
    board.add_argument("run_dir", help="a directory with records.jsonl")
    board.set_defaults(call=_tensorboard)

    export.add_arguments(
        command(
            "export",
            "write a checkpoint as a whole Hugging Face model",
            "export RUN/2_instruct/checkpoints/last.ckpt my-model",
        )
    )

    recipes.add_arguments(
        command("recipes", "list, show or copy the recipes that we ship", "recipes copy sandbox my-recipe")
    )

    for name in _LIGHTNING:
        commands.add_parser(name, help=f"LightningCLI {name} with one YAML file: fusionscope {name} --config X.yaml")
    return parser


def _run(options: argparse.Namespace) -> int:
    from fusionscope.cli.run import run

    return run(options.recipe, run_dir=options.run_dir, seed=options.seed, settings=options.set)


def _report(options: argparse.Namespace) -> int:
    from fusionscope.study.report import report

    print(report(options.run_dir))
    return 0


def _tensorboard(options: argparse.Namespace) -> int:
    from pathlib import Path

    from fusionscope.records import Run
    from fusionscope.study.report.board import rebuild
    from fusionscope.study.report.build import read_records

    directory = Path(options.run_dir)
    folder = rebuild(read_records(directory), directory, Run.find(directory))
    print(f"Rebuilt from {directory / 'records.jsonl'}: tensorboard --logdir {folder}")
    return 0
