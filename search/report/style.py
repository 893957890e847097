"""How pages about searches look: their template, and figures in the light or dark colours that the reader prefers.

A page contains everything that it needs, plotly.js as well. It stores its figures as JSON, and its script (figures.js)
draws each of them when it comes near the screen.
"""

import json
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search.formatting import format_duration, format_score, format_value
from search.record.trials import State

COLOURS = {State.COMPLETE: "#2a8ac0", State.PRUNED: "#8c8c8c", State.FAILED: "#d55e00"}
"""Okabe and Ito's colours, which colour-blind readers can tell apart; the blue is lighter, to be seen on black."""

BEST_COLOUR = "#009e73"

BAR_COLOUR = COLOURS[State.COMPLETE]

NEUTRAL_COLOUR = "#8c8c8c"
"""Of lines that only guide the eye."""

PALETTE = ("#2a8ac0", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Colours of experiments that are compared; Okabe and Ito's too."""

SCALE = [[0.0, "#4a6fb5"], [0.35, "#2a9d9a"], [0.7, "#5fb53b"], [1.0, "#e6a800"]]
"""A colour scale from low to high; both ends stand out on white and on black."""

FEW_EPOCHS = 10
"""Maximum number of epochs on an axis that has a tick for each."""

HEIGHT = 400
"""Pixels of a figure that asks for no other height."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, with the text around it."""

    id: str
    """The id of its HTML element, unique on the page."""

    title: str
    plot: go.Figure
    alt: str
    """What it shows, for readers who cannot see it."""

    note: str = ""
    """The caption: how to read it."""

    min_width: int = 0
    """Width in pixels below which the figure scrolls instead of shrinking."""

    @property
    def height(self) -> int:
        """Its height in pixels, which the page keeps free until the figure is drawn."""
        height = self.plot.layout["height"]
        return int(height) if isinstance(height, int | float) else HEIGHT

    @property
    def spec(self) -> Markup:
        """The JSON that plotly.js draws; it cannot end the script element that contains it."""
        text = self.plot.to_json()
        assert text
        return script_json(text)


def render(template: str, *, package: str = "search.report", **values: Any) -> str:
    """Return the HTML of a page.

    Args:
        template: The template's file in `package`. It can extend `base.html` and import `macros.html` of this package.
        package: The Python package of the template.
        **values: What the template shows.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("search.report", ".")]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_value, "score": format_score, "duration": format_duration}
    return environment.get_template(template).render(
        **values, plotly=Markup(get_plotlyjs()), themes=script_json(json.dumps(_themes()))
    )


def styled(figure: go.Figure, x: str | None = None, y: str | None = None, *, legend: bool = False) -> go.Figure:
    """Return the figure with titles on its axes and without a template: figures.js sets that by the colour scheme."""
    titles = {f"{axis}axis_title": title for axis, title in (("x", x), ("y", y)) if title}
    figure.update_layout(
        template=None,
        height=figure.layout["height"] or HEIGHT,
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure.update_layout(titles)


def whole_numbers(highest: int) -> dict[str, int]:
    """Return the ticks of an axis of epochs: plotly.js would put fractions between a few of them."""
    return {"dtick": 1} if highest <= FEW_EPOCHS else {}


def script_json(text: str) -> Markup:
    """Return equivalent JSON without any character that has a meaning in HTML."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def plot_text(text: str) -> str:
    """Return text that plotly.js shows literally, although it interprets tags and entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _themes() -> dict[str, dict[str, object]]:
    """Return the plotly.js template of each colour scheme. The colours of the page itself are in style.css."""
    return {"light": _theme("#333333", "#e4e4e4", "#ffffff"), "dark": _theme("#d6d6d6", "#3a3a3a", "#121212")}


def _theme(ink: str, grid: str, paper: str) -> dict[str, object]:
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
