"""What a browser makes of a page of the program, as far as tests look at it without one."""

import json
from html.parser import HTMLParser
from typing import Any

VOID_TAGS = ("meta", "link", "br", "img")
"""Tags of the program's pages that have no end tag."""

LOADING_ATTRIBUTES = ("src", "srcset", "data", "action", "poster")
"""Attributes whose value the browser loads."""


class HtmlPage(HTMLParser):
    """The tags, links, headings, tables, lists, texts and figures of a page. Its tags must be nested correctly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.metas: dict[str, str] = {}
        """Contents by name."""

        self.loaded: list[str] = []
        """The addresses that the browser loads, with the page itself or for it."""

        self.anchors: list[str] = []
        """The addresses that a person can click on."""

        self.headings: list[int] = []
        """The level of each heading."""

        self.rows: list[list[str]] = []
        """The texts of the cells of every row of every table."""

        self.items: list[str] = []
        """The texts of the items of lists."""

        self.texts: list[str] = []
        """The texts outside tables."""

        self.figures: dict[str, dict[str, Any]] = {}
        """Plotly's figures, by name."""

        self.open: list[str] = []
        """The tags that are open; none at the end of a page."""

        self._figure = ""
        self.feed(html)

    @property
    def traces(self) -> dict[str, list[dict[str, Any]]]:
        """The traces of each figure."""
        return {name: figure["data"] for name, figure in self.figures.items()}

    def row(self, first: str) -> list[str]:
        """Return the cells of the row whose first cell has this text."""
        return next(row for row in self.rows if row and row[0] == first)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        if "href" in attributes:
            (self.anchors if tag == "a" else self.loaded).append(attributes["href"])
        self.loaded += [
            attributes[name] for name in ("src", "srcset", "data", "action", "poster") if name in attributes
        ]
        if tag == "meta" and "name" in attributes:
            self.metas[attributes["name"]] = attributes["content"]
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "li":
            self.items.append("")
        name = attributes.get("id", "")
        self._figure = name.removesuffix("-spec") if tag == "script" and name.endswith("-spec") else ""
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open or "style" in self.open:
            if self._figure:
                self.figures[self._figure] = json.loads(data)
        elif "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        else:
            self.texts.append(" ".join(data.split()))
        if "li" in self.open:
            self.items[-1] += data
