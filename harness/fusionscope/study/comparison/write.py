"""What a profile found: tables, a page, a figure and its comparisons as text."""

import os

from fusionscope.errors import RunDirectoryError
from fusionscope.records import RunDirectory, read_records
from fusionscope.records.tables import as_text
from fusionscope.study.comparison.figures import breadth_figure
from fusionscope.study.comparison.page import profile_page
from fusionscope.study.comparison.profile import read_profile, rows_of
from fusionscope.study.comparison.tables import comparisons, write_tables
from fusionscope.study.page import save


def report(directory: str | os.PathLike[str]) -> str:
    """Write the tables, the page and the figure of a profile into its directory and return its comparisons as text.

    Args:
        directory: A directory with ``profile.yaml`` and ``records.jsonl``, as `fusionscope profile` writes it.

    Raises:
        RunDirectoryError: No records there, or none of the profile's models.
    """
    folder = RunDirectory(directory)
    records = read_records(folder.path)
    profile = read_profile(folder.profile)
    rows = rows_of(profile, records)
    if not rows:
        raise RunDirectoryError(
            f"{folder} has records of {', '.join(dict.fromkeys(record.run_name for record in records))}",
            f"none is of a model that {folder.profile.name} names, in its last layer",
            "run `fusionscope profile` on the file with these models",
        )
    files = write_tables(profile, records, folder)
    save(breadth_figure(rows), folder.figures / "breadth")
    page = profile_page(profile, records, name=folder.name)
    folder.report.write_text(page, encoding="utf-8")
    lines = [line for name, table in comparisons(rows).items() for line in (name, *as_text(table), "")]
    lines.append(f"Tables:  {', '.join(map(str, files))}")
    lines.append(f"Report:  {folder.report}")
    return "\n".join(lines)
