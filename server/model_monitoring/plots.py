"""Line plots by month as SVG, written by hand: no library, no script, no external reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

_WIDTH, _HEIGHT = 640, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 40
# Okabe and Ito 2008: distinguishable with any colour vision, and in greyscale.
_COLORS = ("#0072b2", "#d55e00", "#009e73")
_GRID = "#d5dae1"
_STEP = 0.04  # the top of the axis is a multiple, so that its four parts are whole percents
_LABELS_MAX = 12  # months that are named below a plot


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """A figure of one month, with the ends of its interval; None for a month without a figure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PlotLine:
    """A named line with one point for each month; None for a month without a figure."""

    name: str
    points: Sequence[PlotPoint | None]


def month_plot(title: str, months: Sequence[str], lines: Sequence[PlotLine]) -> str:
    """Return a plot of shares over months; "" if no line has a point."""
    tops = [point.high for line in lines for point in line.points if point is not None]
    if not tops:
        return ""
    top = min(1.0, ceil(max(tops) / _STEP) * _STEP or _STEP)
    parts = [*_axes(months, top)]
    for line, color in zip(lines, _COLORS, strict=False):
        parts.extend(_line_marks(line, len(months), top, color))
    parts.extend(_legend(lines))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _x(position: int, count: int) -> float:
    """Return the horizontal position of a month."""
    return _LEFT + (position + 0.5) * (_WIDTH - _LEFT - _RIGHT) / max(count, 1)


def _y(value: float, top: float) -> float:
    """Return the vertical position of a share."""
    return _HEIGHT - _BOTTOM - min(value, top) / top * (_HEIGHT - _TOP - _BOTTOM)


def _axes(months: Sequence[str], top: float) -> list[str]:
    """Return the grid with its labels."""
    parts = []
    for step in range(5):
        value = top * step / 4
        y = _y(value, top)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{value:.0%}</text>')
    every = -(-len(months) // _LABELS_MAX)
    for position, month in enumerate(months):
        if position % every == 0:
            x = _x(position, len(months))
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{escape(month)}</text>')
    return parts


def _line_marks(line: PlotLine, count: int, top: float, color: str) -> list[str]:
    """Return the points, their intervals, and the lines between points of adjacent months."""
    parts: list[str] = []
    before: tuple[float, float] | None = None
    for position, point in enumerate(line.points):
        if point is None:
            before = None
            continue
        x, y = _x(position, count), _y(point.value, top)
        low, high = _y(point.low, top), _y(point.high, top)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{color}" opacity=".45"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{color}"/>')
        if before is not None:
            parts.append(
                f'<line x1="{before[0]:.1f}" y1="{before[1]:.1f}" x2="{x:.1f}" y2="{y:.1f}" stroke="{color}"/>'
            )
        before = (x, y)
    return parts


def _legend(lines: Sequence[PlotLine]) -> list[str]:
    """Return the names of the lines below the plot."""
    parts = []
    for position, (line, color) in enumerate(zip(lines, _COLORS, strict=False)):
        x, y = _LEFT + position * 180, _HEIGHT - 8
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{color}"/>')
        parts.append(f'<text x="{x + 8}" y="{y}">{escape(line.name)}</text>')
    return parts
