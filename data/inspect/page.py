"""The page of an inspection: numbers, findings, figures and pictures in one file that opens offline."""

from collections import defaultdict
from pathlib import Path

from data import atomic
from data.errors import UserError
from data.inspect.figures import balance, histograms, shares
from data.inspect.inspection import Inspection
from data.inspect.pictures import choose_slices, draw_pictures
from data.printable import printable


def write_page(path: Path, inspection: Inspection) -> None:
    """Write the page of an inspection, after reading the patients that it shows again.

    Raises:
        BadFiles: A patient can no longer be read.
        UserError: jinja2 is not installed, or the file cannot be written.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    except ImportError as error:
        raise UserError("drawing the page needs jinja2: pip install -e '.[search]'") from error
    by_kind = defaultdict(list)
    for finding in inspection.findings:
        by_kind[finding.kind].append((printable(finding.where), printable(finding.text)))
    environment = Environment(
        loader=PackageLoader("data.inspect", "."), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    summaries = inspection.summaries
    html = environment.get_template("page.html").render(
        name=printable(inspection.name),
        warnings=[printable(warning) for warning in inspection.warnings],
        rows=[(printable(label), printable(value).split("\n")) for label, value in inspection.rows],
        findings=by_kind,
        pictures=draw_pictures(choose_slices(summaries, seed=inspection.seed), summaries, inspection.patients),
        histograms=histograms(summaries),
        balance=balance(summaries),
        shares=shares(summaries),
        num_groups=len({summary.group for summary in summaries}),
        seed=inspection.seed,
    )
    try:
        atomic.write(path, html.encode(), sync=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out") from error
