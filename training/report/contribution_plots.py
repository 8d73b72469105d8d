"""Plots of what drives the model: gain in the fit, and the contributions of the exported explanation."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.evaluation.model_evaluation import ModelEvaluation
from training.export.trees import ZERO_THRESHOLD
from training.report.svg import BLUE, GREY, INK, WIDTH, label_axes, new_figure
from training.spec import FeatureEntry

_FEATURES_SHOWN = 12  # the others hardly affect the score
DEPENDENCE_PLOTS = 6
_TICKS_MAX = 6
_COLORS = "cividis"  # readable with any colour vision, and in greyscale


def importance_plot(evaluation: ModelEvaluation, names: tuple[str, ...]) -> Figure:
    """Plot each feature's mean absolute contribution beside its share of the gain."""
    order = evaluation.contributions.features_by_importance()[:_FEATURES_SHOWN][::-1]
    means, at = evaluation.contributions.mean_magnitudes(), np.arange(len(order), dtype=np.float64)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(order)), layout="constrained")
    contributed, gained = figure.subplots(1, 2, sharey=True)
    contributed.barh(at, [means[place] for place in order], color=BLUE)
    contributed.set_yticks(at, [names[place] for place in order])
    label_axes(contributed, "mean absolute contribution,\nlog-odds", "")
    gained.barh(at, [evaluation.gain.get(names[place], 0.0) for place in order], color="#b8c4ce")
    gained.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(gained, "share of the gain\nin the fit, %", "")
    return figure


def beeswarm_plot(evaluation: ModelEvaluation, names: tuple[str, ...]) -> Figure:
    """Plot a point for each explained row on the line of each feature."""
    found = evaluation.contributions
    order = found.features_by_importance()[:_FEATURES_SHOWN][::-1]
    figure, axes = new_figure(1.4 + 0.36 * len(order))
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    last = None
    for line, place in enumerate(order):
        contributions = found.contributions[:, place]
        last = axes.scatter(
            contributions,
            line + _spread_points(contributions),
            c=_value_ranks(found.rows[:, place]),
            cmap=_COLORS,
            s=5,
            linewidths=0,
            vmin=0,
            vmax=1,
        )
    axes.set_yticks(np.arange(len(order)), [names[place] for place in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.grid(visible=False, axis="y")
    label_axes(axes, "contribution, log-odds\n(right: more risk)", "")
    if last is not None:
        bar = figure.colorbar(last, ax=axes, ticks=[0, 1], aspect=40, pad=0.01, orientation="horizontal", shrink=0.6)
        bar.ax.set_xticklabels(["low", "high"])
        bar.set_label("value of the feature, by rank")
        assert bar.solids is not None
        bar.solids.set(rasterized=False, edgecolor="face")  # paths, not a PNG within the SVG
        bar.outline.set_visible(False)
    return figure


def _spread_points(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vertical offsets that separate points with close contributions, alternately up and down: shape (n,)."""
    width = max(float(np.ptp(contributions)), 1e-12) / 60.0
    columns = np.floor(contributions / width).astype(np.int64)
    lifted = np.zeros(len(contributions))
    for column in np.unique(columns):
        places = np.flatnonzero(columns == column)
        steps = np.arange(len(places))
        lifted[places] = np.where(steps % 2 == 0, 1, -1) * ((steps + 1) // 2)
    return lifted * min(0.06, 0.4 / max(float(np.abs(lifted).max()), 1.0))


def _value_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of every value, 0 to 1, equal for ties; 0.5 for missing values."""
    _, places = np.unique(values, return_inverse=True)
    present = np.isfinite(values)
    top = max(int(places[present].max(initial=0)), 1)
    return np.where(present, places / top, 0.5)


def dependence_plot(evaluation: ModelEvaluation, place: int, feature: FeatureEntry) -> Figure:
    """Plot one feature's contribution by its threshold intervals, evenly spaced; a category by its codes."""
    found = evaluation.contributions
    values, contributions = found.rows[:, place], found.contributions[:, place]
    present = np.isfinite(values)
    thresholds = found.thresholds[place][np.isfinite(found.thresholds[place])]
    if feature.kind == "category":
        names, at = _code_positions(values)
    else:
        names, at = _interval_names(thresholds), np.searchsorted(thresholds, values, side="left").astype(np.float64)
    figure, axes = new_figure(3.0)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    offsets = np.linspace(-0.25, 0.25, len(contributions))  # spreads the points of one interval horizontally
    axes.scatter((at + offsets)[present], contributions[present], s=8, color=BLUE, alpha=0.45, linewidths=0)
    if not present.all():
        mean = float(contributions[~present].mean())
        axes.axhline(mean, color=INK, linestyle=":", linewidth=1.0, label=f"missing: {mean:+.2f} on average")
        axes.legend(loc="best")
    shown = range(0, len(names), -(-len(names) // _TICKS_MAX))
    axes.set_xticks(shown, [names[number] for number in shown])
    axes.set_xlim(-0.6, len(names) - 0.4)
    unit = feature.unit or ("code of the level" if feature.kind == "category" else "no unit")
    label_axes(axes, f"{feature.name}, {unit}", "contribution, log-odds")
    return figure


def _interval_names(thresholds: NDArray[np.float64]) -> list[str]:
    """Return the name of every interval: its upper end, or for the last its lower end."""
    if not len(thresholds):
        return ["any"]
    return [*(_upper_end_name(end) for end in thresholds.tolist()), f"> {_short_number(thresholds[-1])}"]


def _upper_end_name(end: float) -> str:
    """Return the name of an interval; LightGBM's thresholds next to zero are about 1e-35."""
    if abs(end) <= ZERO_THRESHOLD:
        return "< 0" if end < 0.0 else "\u2264 0"
    return f"\u2264 {_short_number(end)}"


def _code_positions(codes: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the codes that occur, and each row's position among them."""
    distinct = np.unique(codes[np.isfinite(codes)])
    return [f"{code:g}" for code in distinct] or ["any"], np.searchsorted(distinct, codes).astype(np.float64)


def _short_number(value: float) -> str:
    """Return a number in short form: 250k, 1.5M."""
    if abs(value) >= 1e6:  # noqa: PLR2004 - a million
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.3g}k" if abs(value) >= 1e4 else f"{value:.4g}"  # noqa: PLR2004 - five digits
