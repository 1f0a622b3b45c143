"""``fusionscope tensorboard``: the event files of a run, written anew from its records."""

import argparse

HELP = "rebuild the event files of a run from its records"
EXAMPLE = "tensorboard runs/sandbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_dir", help="a directory with records.jsonl")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Write the event files in place of those that are there.

    Raises:
        RunDirectoryError: No records there.
    """
    from fusionscope.records import Run, RunDirectory, read_records
    from fusionscope.records.event_files import rebuild

    directory = RunDirectory(options.run_dir)
    folder = rebuild(read_records(directory.path), directory.path, Run.find(directory))
    print(f"Rebuilt from {directory.records}: tensorboard --logdir {folder}")
    return 0
