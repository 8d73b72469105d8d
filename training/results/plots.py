"""Plots of the results of scoring runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from training.report.quality_plots import draw_intervals
from training.report.svg import INK, ORANGE, label_axes, new_figure
from training.results.campaign_effect import CampaignEffect
from training.results.measurement import ChurnRate

_LEVEL_NAMES_MAX = 6  # more names on the x axis are rotated, so that they do not overlap


def rate_plot(rates: Sequence[ChurnRate], names: Sequence[str], x: str) -> Figure:
    """Plot observed churn rates with their intervals, and the expected rates.

    Args:
        rates: The rates.
        names: Name of each rate on the x axis.
        x: Name of the x axis.
    """
    figure, axes = new_figure(3.4)
    at = np.arange(len(rates), dtype=np.float64)
    draw_intervals(axes, at, [one.observed for one in rates], "observed, with 95 % interval")
    axes.plot(at + 0.12, [one.mean_pd for one in rates], "D", color=ORANGE, markersize=4.5, label="expected")
    axes.set_xticks(at, names)
    if len(names) > _LEVEL_NAMES_MAX:
        axes.tick_params(axis="x", rotation=40)
    axes.set_xlim(-0.5, len(rates) - 0.5)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_axes(axes, x, "customers who leave, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    return figure


def effect_plot(effects: Sequence[CampaignEffect]) -> Figure:
    """Plot the effect of a campaign on groups of customers; the first effect is drawn at the top."""
    known = [(one.name, one.effect) for one in effects if one.effect is not None][::-1]
    figure, axes = new_figure(1.3 + 0.3 * len(known))
    at = np.arange(len(known), dtype=np.float64)
    draw_intervals(axes, at, [effect for _, effect in known], "effect, with 95 % interval", horizontal=True)
    axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=":")
    axes.set_yticks(at, [name for name, _ in known])
    axes.set_ylim(-0.6, len(known) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    label_axes(axes, "customers retained, of 100 (left of the dotted line: lost)", "")
    return figure
