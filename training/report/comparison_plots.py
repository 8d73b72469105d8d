"""Plots that compare: samples, models, groups of customers."""

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

_PSI_MIN = 1e-4  # smaller ones stand there
_LINE_MAX = 18  # letters of a line below a bar


def shift_plot(findings: ModelEvaluation) -> Figure:
    """Draw the PSI of the score and the CSI of every feature, with what chance alone gives."""
    found = {"the score": findings.score_shift, **{name: one.shift for name, one in findings.features.items()}}
    known = [(name, shift) for name, shift in found.items() if shift is not None][::-1]
    figure, axes = new_figure(1.4 + 0.2 * len(known))
    at = np.arange(len(known), dtype=np.float64)
    # On a logarithmic scale, because what chance gives is often a hundredth of what matters.
    axes.plot([max(one.psi, _PSI_MIN) for _, one in known], at, "o", color=BLUE, markersize=5, label="found")
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
    """Draw the bad rate of the four cells, both models approving equally many."""
    figure, axes = new_figure(3.4)
    cells = [(fill(says, _LINE_MAX), getattr(swap.at_rate, name)) for name, says in CELL_TITLES.items()]
    held = [(says, cell) for says, cell in cells if cell.rows]
    at = np.arange(len(held), dtype=np.float64)
    draw_intervals(axes, at, [proportion(cell.bads, cell.rows) for _, cell in held], "bad rate, with 95 % interval")
    axes.set_xticks(at, [f"{says}\n({cell.rows:,})" for says, cell in held], fontsize=8)
    axes.set(xlim=(-0.5, len(held) - 0.5))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(axes, "who approves (customers)", "bad rate, %")
    axes.legend(loc="upper left")
    return figure


def approval_plot(findings: ModelEvaluation) -> Figure:
    """Draw the share of approved good customers of every group, with its interval."""
    lines: list[tuple[str, Estimate]] = []
    for attribute, found in findings.fairness.items():
        lines += [(f"{attribute}: {one.name}", one.tpr) for one in found.groups if one.tpr and not one.small]
    lines.reverse()
    figure, axes = new_figure(1.2 + 0.24 * len(lines))
    at = np.arange(len(lines), dtype=np.float64)
    draw_intervals(axes, at, [tpr for _, tpr in lines], "with 95 % interval", lying=True)
    goods = findings.hold_out.labels == 0
    overall = float(np.mean(findings.hold_out.pds[goods] <= _cut_off(findings)))
    axes.axvline(overall, color=GREY, linewidth=1.0, linestyle="--", label="all customers")
    axes.set_yticks(at, [name for name, _ in lines])
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(axes, "good customers approved, %", "")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2)
    return figure


def _cut_off(findings: ModelEvaluation) -> float:
    """Give the cut-off at which groups were compared."""
    assert findings.approve_max_pd is not None
    return findings.approve_max_pd
