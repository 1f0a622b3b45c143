"""``fusionscope report``: the page, the figures and the table of a run, a probe sweep or a profile."""

import argparse

HELP = "draw the page and the figures of a run and print its table"
EXAMPLE = "report runs/sandbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_dir", help="a directory with records.jsonl: of a run, a probe sweep or a profile")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Draw what the directory holds and print its table.

    Raises:
        RunDirectoryError: No records there, or none of the last layer.
    """
    from fusionscope.records import RunDirectory
    from fusionscope.study import comparison
    from fusionscope.study.report import report

    directory = RunDirectory(options.run_dir)
    is_profile = directory.profile.is_file()
    print(comparison.report(directory) if is_profile else report(directory))
    return 0
