"""Plots that compare samples, models, and groups of customers."""

from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from training.evaluation.model_evaluation import ModelEvaluation
from training.measures.proportions import Estimate, proportion
from training.measures.stability import ACT_PSI, WATCH_PSI
from training.report.quality_plots import draw_intervals
from training.report.svg import BLUE, GREY, INK, ORANGE, label_axes, new_figure
from training.report.tables import CELL_TITLES
from training.validation.rivals import SwapComparison

_PSI_MIN = 1e-4  # smaller values are drawn at this value, because the scale is logarithmic
_LINE_MAX = 18  # maximum number of characters per line of a bar's label


def shift_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the PSI of the score and the CSI of every feature, with their critical values."""
    found = {"the score": evaluation.score_shift, **{name: one.shift for name, one in evaluation.features.items()}}
    known = [(name, shift) for name, shift in found.items() if shift is not None][::-1]
    figure, axes = new_figure(1.4 + 0.2 * len(known))
    at = np.arange(len(known), dtype=np.float64)
    # The scale is logarithmic, because critical values are often a hundred times smaller than the limits 0.10 and 0.25.
    axes.plot([max(one.psi, _PSI_MIN) for _, one in known], at, "o", color=BLUE, markersize=5, label="measured")
    axes.plot([one.critical for _, one in known], at, "|", color=ORANGE, markersize=10, label="chance, 95 %")
    axes.set_xscale("log")
    axes.set_xlim(_PSI_MIN / 2, 1.0)
    for limit in (WATCH_PSI, ACT_PSI):
        axes.axvline(limit, color=INK, linewidth=0.9, linestyle=":")
    axes.set_yticks(at, [name for name, _ in known])
    axes.grid(visible=False, axis="y")
    label_axes(axes, "population stability index (dotted: 0.10 and 0.25)", "")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=2)
    return figure


def swap_plot(swap: SwapComparison) -> Figure:
    """Plot the bad rates of the four cells of the swap set in which both models approve the same number of customers."""
    figure, axes = new_figure(3.4)
    cells = [(fill(title, _LINE_MAX), getattr(swap.at_rate, name)) for name, title in CELL_TITLES.items()]
    filled = [(title, cell) for title, cell in cells if cell.rows]
    at = np.arange(len(filled), dtype=np.float64)
    draw_intervals(axes, at, [proportion(cell.bads, cell.rows) for _, cell in filled], "bad rate, with 95 % interval")
    axes.set_xticks(at, [f"{title}\n({cell.rows:,})" for title, cell in filled], fontsize=8)
    axes.set(xlim=(-0.5, len(filled) - 0.5))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(axes, "who approves (customers)", "bad rate, %")
    axes.legend(loc="upper left")
    return figure


def approval_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the share of the good customers who are approved, for every group with enough rows, with intervals."""
    lines: list[tuple[str, Estimate]] = []
    for attribute, found in evaluation.fairness.items():
        lines += [(f"{attribute}: {one.name}", one.tpr) for one in found.groups if one.tpr and not one.small]
    lines.reverse()
    figure, axes = new_figure(1.2 + 0.24 * len(lines))
    at = np.arange(len(lines), dtype=np.float64)
    draw_intervals(axes, at, [tpr for _, tpr in lines], "with 95 % interval", horizontal=True)
    goods = evaluation.hold_out.labels == 0
    overall = float(np.mean(evaluation.hold_out.pds[goods] <= _cut_off(evaluation)))
    axes.axvline(overall, color=GREY, linewidth=1.0, linestyle="--", label="all customers")
    axes.set_yticks(at, [name for name, _ in lines])
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(axes, "good customers approved, %", "")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2)
    return figure


def _cut_off(evaluation: ModelEvaluation) -> float:
    """Return the pd cut-off at which groups are compared."""
    assert evaluation.approve_max_pd is not None
    return evaluation.approve_max_pd
