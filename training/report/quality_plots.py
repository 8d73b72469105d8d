"""Plots of ranking and calibration on the hold-out."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.evaluation.model_evaluation import ModelEvaluation
from training.measures.discrimination import Curve, cap_points, roc_points
from training.measures.inputs import Labels, Pds
from training.measures.proportions import Estimate
from training.report.svg import BLUE, GREEN, GREY, INK, ORANGE, label_axes, new_figure
from training.validation.calibration import GRADE_SHARE_MIN

_POINTS_MAX = 160  # maximum number of points of a curve; more points would not be visible
_HISTOGRAM_BINS = 40
_RIVAL_STYLES = ((ORANGE, "--"), (GREEN, "-."), (GREY, ":"))


def roc_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the ROC curves of the model and the rivals."""
    figure, axes = new_figure(4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    draw_curves(axes, evaluation, roc_points)
    label_axes(axes, "share of the good customers at or above a risk", "share of the bad customers found")
    _format_square(axes)
    return figure


def cap_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the CAP curves of the model, the rivals, a random ranking and a perfect model."""
    figure, axes = new_figure(4.2)
    bad_rate = evaluation.test_quality.bad_rate
    axes.plot([0, bad_rate, 1], [0, 1, 1], color=GREY, linewidth=0.8, label="perfect model")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    draw_curves(axes, evaluation, cap_points)
    label_axes(axes, "share of customers, the riskiest first", "share of the bad customers found")
    _format_square(axes)
    return figure


def draw_curves(
    axes: Axes, evaluation: ModelEvaluation, points: Callable[[Labels, Pds], Curve], *, with_auc: bool = True
) -> None:
    """Plot one curve for the model and one for each of up to three rivals."""
    labels = evaluation.hold_out.labels
    for (name, rival), (color, line) in zip(evaluation.rivals.items(), _RIVAL_STYLES, strict=False):
        curve = _thin(points(labels, rival.pds))
        shown = f"{name}, AUC {rival.quality.auc:.3f}" if with_auc else name
        axes.plot(curve.x, curve.y, color=color, linestyle=line, linewidth=1.3, label=shown)
    curve = _thin(points(labels, evaluation.hold_out.pds))
    shown = f"this model, AUC {evaluation.test_quality.auc:.3f}" if with_auc else "this model"
    axes.plot(curve.x, curve.y, color=BLUE, linewidth=2.2, label=shown)
    axes.legend(loc="lower right")


def _thin(curve: Curve) -> Curve:
    """Return evenly spaced points of a curve, including both ends."""
    places = np.unique(np.linspace(0, len(curve.x) - 1, _POINTS_MAX).round().astype(int))
    return Curve(curve.x[places], curve.y[places])


def _format_square(axes: Axes) -> None:
    """Format both axes as 0 to 100 %."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    _format_percent(axes, "x")
    _format_percent(axes, "y")


def _format_percent(axes: Axes, which: str) -> None:
    """Format an axis in percent."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0))


def calibration_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot bad rates against mean pds by bin, with their intervals."""
    figure, axes = new_figure(4.0)
    bins = evaluation.calibration.bins
    top = max(max(one.bad_rate.high, one.mean_pd) for one in bins) * 1.05
    axes.plot([0, top], [0, top], color=GREY, linewidth=0.8, label="calibrated")
    means = np.array([one.mean_pd for one in bins])
    draw_intervals(axes, means, [one.bad_rate for one in bins], "bad rate of a tenth of the rows, with 95 % interval")
    label_axes(axes, "mean probability of the bad outcome, %", "bad rate, %")
    axes.set(xlim=(0, top), ylim=(0, top))
    _format_percent(axes, "x")
    _format_percent(axes, "y")
    axes.legend(loc="upper left")
    return figure


def draw_intervals(
    axes: Axes, at: NDArray[np.float64], estimates: list[Estimate], label_text: str, *, horizontal: bool = False
) -> None:
    """Draw estimates with their intervals, as horizontal lines if `horizontal` is true, else as vertical lines."""
    values = np.array([one.value for one in estimates])
    ends = np.array([[one.value - one.low for one in estimates], [one.high - one.value for one in estimates]])
    style = {"fmt": "o", "color": BLUE, "markersize": 5, "linewidth": 1.4, "capsize": 3, "label": label_text}
    if horizontal:
        axes.errorbar(values, at, xerr=np.maximum(ends, 0.0), **style)  # type: ignore[arg-type]  # a dict of styles
    else:
        axes.errorbar(at, values, yerr=np.maximum(ends, 0.0), **style)  # type: ignore[arg-type]  # a dict of styles


def score_plot(evaluation: ModelEvaluation, cut_offs: tuple[tuple[str, float], ...]) -> Figure:
    """Plot the distribution of the score for goods and bads.

    Args:
        evaluation: Evaluation of the model on the hold-out.
        cut_offs: Names and points of the cut-offs; may be empty.
    """
    figure, axes = new_figure(3.8)
    points, bad = evaluation.hold_out.scores, evaluation.hold_out.labels == 1
    edges = np.linspace(points.min(), points.max() + 1e-9, _HISTOGRAM_BINS + 1)
    for name, inside, color, line in (("good", ~bad, BLUE, "-"), ("bad", bad, ORANGE, "--")):
        shares = np.histogram(points[inside], edges)[0] / inside.sum()
        axes.stairs(shares, edges, color=color, linestyle=line, linewidth=1.6, label=f"{name} customers")
    # The name of the lowest cut-off is left of its line, all other names are right of their lines, so that they do not overlap.
    for number, (name, at) in enumerate(sorted(cut_offs, key=lambda one: one[1])):
        axes.axvline(at, color=INK, linewidth=1.0, linestyle=":")
        side: Literal["right", "left"] = "right" if number == 0 else "left"
        axes.text(at, 0.99, f" {name} ", transform=axes.get_xaxis_transform(), va="top", ha=side, fontsize=8.5)
    axes.margins(y=0.14)  # room for the names of the cut-offs
    label_axes(axes, "score, points (more is less risk)", "share of the good, or of the bad, %")
    _format_percent(axes, "y")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.16), ncols=2)
    return figure


def grade_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot bad rate and mean pd by grade."""
    figure, axes = new_figure(3.6)
    filled = [grade for grade in evaluation.calibration.grades if grade.bad_rate is not None]
    at = np.arange(len(filled), dtype=np.float64)
    rates = [grade.bad_rate for grade in filled if grade.bad_rate is not None]
    draw_intervals(axes, at, rates, "bad rate, with 95 % interval")
    means = [grade.test.pd for grade in filled]
    axes.plot(at + 0.16, means, "D", color=ORANGE, markersize=4.5, label="mean probability")
    axes.set_xticks(at, [grade.test.grade for grade in filled])
    axes.set_ylim(bottom=0)
    label_axes(axes, "grade, the safest first", "bad rate, %")
    _format_percent(axes, "y")
    axes.legend(loc="upper left")
    return figure


def share_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the share of customers by grade, at development and on the hold-out."""
    figure, axes = new_figure(3.2)
    found = evaluation.calibration.grades
    at = np.arange(len(found), dtype=np.float64)
    axes.bar(at - 0.2, [one.development_share for one in found], 0.38, color="#b8c4ce", label="development")
    axes.bar(at + 0.2, [one.share for one in found], 0.38, color=BLUE, label="hold-out")
    axes.axhline(
        GRADE_SHARE_MIN,
        color=INK,
        linewidth=0.9,
        linestyle=":",
        label=f"{100 * GRADE_SHARE_MIN:g} %: minimum for a test",
    )
    axes.set_xticks(at, [one.test.grade for one in found])
    label_axes(axes, "grade, the safest first", "customers, %")
    _format_percent(axes, "y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3, columnspacing=1.0, handlelength=1.5)
    return figure
