"""``fusionscope export``: a checkpoint of a stage, or an adapter, as a whole Hugging Face model."""

import argparse
from pathlib import Path

from fusionscope.cli.request import TRUST
from fusionscope.errors import ConfigError

HELP = "write a checkpoint as a whole Hugging Face model"
EXAMPLE = "export RUN/2_instruct/checkpoints/last.ckpt my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("checkpoint", help="a .ckpt that a stage saved, or the directory of a peft adapter")
    parser.add_argument("target", help="the directory to write; must not exist yet")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Load the base, add what was trained, merge adapters, write model and processor.

    Raises:
        ConfigError: The target exists, or the source names several checkpoints.
        DataError: Trained weights that are missing, unexpected or of another base.
    """
    from fusionscope.study.sweep import Models, find_checkpoints

    target = Path(options.target)
    if target.exists():
        raise ConfigError(f"{target} exists already", "nothing is overwritten", "choose another target")
    checkpoints = find_checkpoints([options.checkpoint])
    if len(checkpoints) != 1:
        raise ConfigError(
            f"{options.checkpoint} names {len(checkpoints)} checkpoints",
            "one model is exported at a time",
            "name one file",
        )
    Models(trust=options.trust).export(checkpoints[0], target)
    print(f'{options.checkpoint} -> {target}; load it with AutoModelForImageTextToText.from_pretrained("{target}")')
    return 0
