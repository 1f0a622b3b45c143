"""The command ``fusionscope``: one module a command. Heavy imports wait until a command needs them."""

import argparse
import sys
from collections.abc import Sequence

from fusionscope.cli import export, probe, profile, recipes, report, run, tensorboard
from fusionscope.cli.signals import StopRequest
from fusionscope.errors import FusionscopeError

_COMMANDS = {
    "run": run,
    "probe": probe,
    "profile": profile,
    "report": report,
    "tensorboard": tensorboard,
    "export": export,
    "recipes": recipes,
}
_LIGHTNING = ("fit", "validate", "test", "predict")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; an error of ours is printed without a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in _LIGHTNING:
            request = StopRequest().listen()
            request.obey_parent()
            from fusionscope.cli.fit import lightning_cli

            return lightning_cli(arguments, request)
        options = parser().parse_args(arguments)
        return int(options.call(options))
    except FusionscopeError as error:
        print(f"\nfusionscope: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; those of LightningCLI have only their help here."""
    whole = argparse.ArgumentParser(
        prog="fusionscope",
        description="Train or load a vision-language model and see, in bits, how it uses vision, language and fusion.",
        epilog="fit, validate, test and predict are LightningCLI's: fusionscope fit --help",
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        text = module.HELP
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example: fusionscope {module.EXAMPLE}",
        )
        module.add_arguments(command)
    for name in _LIGHTNING:
        commands.add_parser(name, help=f"LightningCLI {name} with one YAML file: fusionscope {name} --config X.yaml")
    return whole
