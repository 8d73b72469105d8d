"""Plots of the effect of each feature on the score: its gain in the fit, and its contributions from explain.onnx."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.evaluation.model_evaluation import ModelEvaluation
from training.export.trees import ZERO_THRESHOLD
from training.report.svg import BLUE, GREY, INK, WIDTH, label_axes, new_figure
from training.spec import FeatureEntry

_FEATURES_SHOWN = 12  # the most important features; the others hardly affect the score
DEPENDENCE_PLOTS = 6
_TICKS_MAX = 6
_COLORS = "cividis"  # readable with any colour vision, and in greyscale


def importance_plot(evaluation: ModelEvaluation, names: tuple[str, ...]) -> Figure:
    """Plot the mean absolute contribution of each feature next to its share of the gain."""
    order = evaluation.contributions.features_by_importance()[:_FEATURES_SHOWN][::-1]
    means, at = evaluation.contributions.mean_magnitudes(), np.arange(len(order), dtype=np.float64)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(order)), layout="constrained")
    contributed, gained = figure.subplots(1, 2, sharey=True)
    contributed.barh(at, [means[column] for column in order], color=BLUE)
    contributed.set_yticks(at, [names[column] for column in order])
    label_axes(contributed, "mean absolute contribution,\nlog-odds", "")
    gained.barh(at, [evaluation.gain.get(names[column], 0.0) for column in order], color="#b8c4ce")
    gained.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(gained, "share of the gain\nin the fit, %", "")
    return figure


def beeswarm_plot(evaluation: ModelEvaluation, names: tuple[str, ...]) -> Figure:
    """Plot the contributions: one line of points per feature, with one point per explained row."""
    found = evaluation.contributions
    order = found.features_by_importance()[:_FEATURES_SHOWN][::-1]
    figure, axes = new_figure(1.4 + 0.36 * len(order))
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    last = None
    for line, column in enumerate(order):
        contributions = found.contributions[:, column]
        last = axes.scatter(
            contributions,
            line + _spread_points(contributions),
            c=_value_ranks(found.rows[:, column]),
            cmap=_COLORS,
            s=5,
            linewidths=0,
            vmin=0,
            vmax=1,
        )
    axes.set_yticks(np.arange(len(order)), [names[column] for column in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.grid(visible=False, axis="y")
    label_axes(axes, "contribution, log-odds\n(right: more risk)", "")
    if last is not None:
        bar = figure.colorbar(last, ax=axes, ticks=[0, 1], aspect=40, pad=0.01, orientation="horizontal", shrink=0.6)
        bar.ax.set_xticklabels(["low", "high"])
        bar.set_label("value of the feature, by rank")
        assert bar.solids is not None
        bar.solids.set(rasterized=False, edgecolor="face")  # draws paths instead of a PNG within the SVG
        bar.outline.set_visible(False)
    return figure


def _spread_points(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vertical offsets that separate points with close contributions, alternately up and down: shape (n,)."""
    width = max(float(np.ptp(contributions)), 1e-12) / 60.0
    slices = np.floor(contributions / width).astype(np.int64)
    lifted = np.zeros(len(contributions))
    for number in np.unique(slices):
        points = np.flatnonzero(slices == number)
        steps = np.arange(len(points))
        lifted[points] = np.where(steps % 2 == 0, 1, -1) * ((steps + 1) // 2)
    return lifted * min(0.06, 0.4 / max(float(np.abs(lifted).max()), 1.0))


def _value_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of every value, from 0 to 1; equal values have equal ranks, missing values have 0.5."""
    _, ranks = np.unique(values, return_inverse=True)
    present = np.isfinite(values)
    top = max(int(ranks[present].max(initial=0)), 1)
    return np.where(present, ranks / top, 0.5)


def dependence_plot(evaluation: ModelEvaluation, column: int, feature: FeatureEntry) -> Figure:
    """Plot the contribution of a feature by its threshold intervals, or by its codes if the feature is a category.

    The intervals are evenly spaced on the axis.
    """
    found = evaluation.contributions
    values, contributions = found.rows[:, column], found.contributions[:, column]
    present = np.isfinite(values)
    thresholds = found.thresholds[column][np.isfinite(found.thresholds[column])]
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
    """Return the name of every interval, which is its upper end; the last interval is named after its lower end."""
    if not len(thresholds):
        return ["any"]
    return [*(_upper_end_name(end) for end in thresholds.tolist()), f"> {_short_number(thresholds[-1])}"]


def _upper_end_name(end: float) -> str:
    """Return the name of the interval below a threshold; LightGBM's threshold of about 1e-35 is shown as 0."""
    if abs(end) <= ZERO_THRESHOLD:
        return "< 0" if end < 0.0 else "\u2264 0"
    return f"\u2264 {_short_number(end)}"


def _code_positions(codes: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the codes that occur, and the index of each row's code among these names."""
    distinct = np.unique(codes[np.isfinite(codes)])
    return [f"{code:g}" for code in distinct] or ["any"], np.searchsorted(distinct, codes).astype(np.float64)


def _short_number(value: float) -> str:
    """Return a number in short form: 250k, 1.5M."""
    if abs(value) >= 1e6:  # noqa: PLR2004 - a million
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.3g}k" if abs(value) >= 1e4 else f"{value:.4g}"  # noqa: PLR2004 - five digits
