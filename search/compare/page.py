"""A comparison as one HTML file that opens offline (page.html)."""

from collections.abc import Sequence
from pathlib import Path

from data.atomic import write
from data.errors import UserError
from search.compare.experiments import Experiment
from search.compare.figures import all_figures
from search.compare.result_tables import untested
from search.compare.significance import Pair
from search.compare.table import Table
from search.report.style import render


def write_page(
    path: Path, experiments: Sequence[Experiment], pairs: Sequence[Pair], tables: Sequence[Table], *, command: str
) -> None:
    """Write the page, and create its folder if necessary.

    Raises:
        UserError: The file cannot be written.
    """
    figures = all_figures(experiments)
    html = render(
        "page.html",
        package="search.compare",
        contents=[(table.id, table.title) for table in tables],
        has_figures=any(figures.values()),
        experiments=experiments,
        tested=[pair for pair in pairs if pair.difference],
        untested=untested(pairs),
        tables=tables,
        figures=figures,
        command=command,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, html.encode(errors="replace"))  # names of files need not be valid text
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): choose another file by --html") from error
