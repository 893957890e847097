"""How pages about searches look: their template, and figures that follow the reader between light and dark.

A page holds everything that it needs, plotly.js too. Its figures lie in it as JSON, and its script (figures.js) draws
one when it comes near the screen, in the colours of the reader's scheme.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search.record.trials import State
from search.status import format_duration

COLOURS = {State.COMPLETE: "#2a8ac0", State.PRUNED: "#8c8c8c", State.FAILED: "#d55e00"}
"""Okabe and Ito's, told apart by everyone; the blue is lighter, to be seen on black too."""

BEST_COLOUR = "#009e73"

PALETTE = ("#2a8ac0", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Of lines that stand side by side; Okabe and Ito's."""

SCALE = [[0.0, "#4a6fb5"], [0.35, "#2a9d9a"], [0.7, "#5fb53b"], [1.0, "#e6a800"]]
"""From low to high; neither end is lost on white or on black."""

HEIGHT = 400

DASH = "-"
"""Stands for what is undefined or not known."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and what is said of it."""

    id: str
    """Of its element; unique on the page."""

    title: str
    plot: go.Figure
    alt: str
    """What it shows, for those who cannot see it."""

    note: str = ""
    """What must be known to read it."""

    min_width: int = 0
    """Pixels below which it scrolls instead of shrinking."""

    @property
    def height(self) -> int:
        """Its height in pixels, kept free before it is drawn."""
        return int(self.plot.layout.height or HEIGHT)

    @property
    def spec(self) -> Markup:
        """What plotly.js draws, as JSON that cannot end the script element it stands in."""
        return script_json(self.plot.to_json())


def render(template: str, *, package: str = "search.report", **values: Any) -> str:
    """Return a page.

    Args:
        template: Its file in the package; it may extend `base.html`, which is here.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("search.report", ".")]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": format_duration}
    return environment.get_template(template).render(
        **values, plotly=Markup(get_plotlyjs()), themes=script_json(json.dumps(_themes()))
    )


def styled(figure: go.Figure, x: str | None = None, y: str | None = None, *, legend: bool = False) -> go.Figure:
    """Return the figure with the titles of its axes, and without colours of its own: those are the scheme's."""
    titles = {f"{axis}axis_title": title for axis, title in (("x", x), ("y", y)) if title}
    return figure.update_layout(
        **titles,
        template=None,
        height=figure.layout.height or HEIGHT,
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


def script_json(text: str) -> Markup:
    """Return JSON that means the same, without a character that means anything in HTML."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def plot_text(text: Any) -> str:
    """Return text that plotly.js shows as it is: it reads tags and entities."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: Any) -> str:
    """Return a value for people; a dash where it is undefined."""
    if value is None:  # nan, read back from JSON
        return DASH
    if not isinstance(value, float):
        return str(value)
    return DASH if not math.isfinite(value) else f"{value:.4g}"


def _themes() -> dict[str, dict[str, Any]]:
    """Return what plotly.js calls templates, by scheme; the page's own colours are in style.css."""
    return {"light": _theme("#333333", "#e4e4e4", "#ffffff"), "dark": _theme("#d6d6d6", "#3a3a3a", "#121212")}


def _theme(ink: str, grid: str, paper: str) -> dict[str, Any]:
    axis = {"gridcolor": grid, "zerolinecolor": grid, "linecolor": grid, "automargin": True}
    return {
        "data": {"bar": [{"marker": {"line": {"color": paper, "width": 1}}}]},
        "layout": {
            "font": {"color": ink, "size": 13, "family": "system-ui, sans-serif"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(PALETTE),
            "colorscale": {"sequential": SCALE},
            "xaxis": axis,
            "yaxis": axis,
            "annotationdefaults": {"bgcolor": paper + "c0", "borderpad": 1},
            "hoverlabel": {"bgcolor": paper, "bordercolor": grid, "font": {"color": ink}},
        },
    }
