"""``fusionscope run``: the stages of a recipe, in order, in one run directory, resumable."""

import argparse

HELP = "run the stages of a recipe in order, in one run directory; resumes"
EXAMPLE = "run sandbox --seed 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; imports nothing heavy."""
    parser.add_argument("recipe", help="a recipe that we ship, a directory with one YAML file a stage, or one file")
    parser.add_argument("--run-dir", help="where to run it (default: runs/NAME, NAME being the recipe's)")
    parser.add_argument("--seed", type=int, help="seed of every stage, instead of the recipe's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of every stage, such as trainer.max_steps=10; may be given several times",
    )
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the stages that are not done, then write the report; see `fusionscope.cli.stages.run_stages`."""
    from fusionscope.cli.signals import StopRequest

    request = StopRequest().listen()  # before the imports, which take a while
    from fusionscope.cli.stages import run_stages

    return run_stages(options.recipe, request, run_dir=options.run_dir, seed=options.seed, settings=options.set)
