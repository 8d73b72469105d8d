"""Renders matplotlib figures as SVG inside an HTML page: reproducible bytes, no external references.

matplotlib writes a DOCTYPE, namespaces and RDF metadata with external addresses. This module removes them,
because an <svg> element within HTML needs none of them: HTML parsers know the element, and SVG 2 has a plain `href`
attribute.
"""

import io
import re
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from grounds_record.printable_text import escape_text
from training.report.markup import escape

# Okabe and Ito 2008: distinguishable with any colour vision, and in greyscale.
BLUE, ORANGE, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#6b7280", "#1f2933"
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, accessible, and small
    "svg.hashsalt": "grounds",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
WIDTH = 5.0  # inches; text stays readable when the page is 360 pixels wide


def new_figure(height: float = 3.5) -> tuple[Figure, Axes]:
    """Return an empty figure of the page's width; call this function and draw the figure within `plot_style`."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Set the names of both axes; include units."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def render_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element.

    Args:
        figure: A figure with at least one mark, whose axes have names.
        name: Name of the figure, unique on the page; the prefix of every id in the SVG.
        description: Description for screen readers.
    """
    for number, axes in enumerate(figure.axes):
        assert axes.get_xlabel(), f"{name}: an axis has no name"
        axes.xaxis.label.set_gid(f"x-label-{number}")
        axes.yaxis.label.set_gid(f"y-label-{number}")
        marks: list[Artist] = [*axes.lines, *axes.collections, *axes.patches]
        assert marks, f"{name}: nothing is drawn"
        for index, mark in enumerate(marks):
            mark.set_gid(f"mark-{number}-{index}")
    with io.StringIO() as written:
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        # Figure.savefig draws the figure twice, because it supports options that change the layout.
        FigureCanvasSVG(figure).print_svg(written, metadata=metadata)  # type: ignore[no-untyped-call]
        text = escape_text(written.getvalue())
    return _inline(text, name, description)


def _inline(text: str, name: str, description: str) -> str:
    """Return the SVG without DOCTYPE, metadata and namespaces, with ids that are unique on the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'\bhref="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"', "<svg", text, count=1)
    # Two decimals are enough for any screen. Only numbers inside tags are shortened; text is unchanged.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1).strip()


def plot_style() -> AbstractContextManager[None]:
    """Return the context in which every figure must be created and rendered."""
    return mpl.rc_context(_STYLE)
