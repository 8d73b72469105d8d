"""The report's sections on a campaign: results by rule, results by snapshot, example customers, and the hold-out group."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from models.scorecard import pd_from_log_odds
from training.evaluation.model_evaluation import ModelEvaluation
from training.measures.bootstrap import Interval
from training.measures.discrimination import cap_points
from training.measures.proportions import Estimate, detectable_difference
from training.report.markup import (
    bullets,
    figure,
    interval_text,
    paragraph,
    percent,
    percent_interval_text,
    section,
    table,
)
from training.report.quality_plots import draw_curves, draw_intervals
from training.report.svg import BLUE, GREY, INK, ORANGE, label_axes, new_figure, render_svg
from training.scoring.campaign import in_hold_out
from training.scoring.drivers import DriverTexts
from training.spec import CampaignSpec, Spec
from training.validation.campaign import CampaignFindings, CampaignMetrics

_TENTHS = 10
_EXAMPLE_QUANTILES = (0.995, 0.95, 0.8, 0.5)  # quantiles of the pd at which example customers are shown
_PART_TITLES = {"FIT": "fit", "CALIBRATION": "calibration", "HOLD_OUT": "hold-out"}


def campaign_sections(spec: Spec, evaluation: ModelEvaluation, drivers: DriverTexts) -> Iterator[str]:
    """Yield the sections; yield nothing if the spec has no [log] section."""
    found = evaluation.campaign
    if found is None:
        return
    gains = render_svg(_gain_plot(evaluation), "gain", "Share of those who left among the riskiest customers")
    lifts = render_svg(_lift_plot(evaluation), "lift", "Share that left by tenth of the customers, the riskiest first")
    yield section(
        "Results of a campaign on the customers with the highest risk",
        '<div class="plots">',
        figure(
            "Gain.",
            "Share of all leaving customers who are reached, by the share of customers who are called, the riskiest first.",
            gains,
        ),
        figure(
            "Lift.",
            "Each bar is a tenth of the customers. The dotted line is the share of all customers who left.",
            lifts,
        ),
        "</div>",
        _rule_table(spec.campaign, found),
    )
    months = render_svg(_snapshot_auc_plot(found), "months", "AUC of every snapshot with its interval")
    rates = render_svg(_snapshot_rate_plot(found), "rates", "Share that left and mean probability by snapshot")
    yield section(
        "Results by snapshot",
        '<div class="plots">',
        figure("Ranking by snapshot.", "Snapshots whose intervals do not overlap differ by more than chance.", months),
        figure(
            "Probability by snapshot.",
            "If a diamond lies within its interval, the predictions agree with the outcomes.",
            rates,
        ),
        "</div>",
        _snapshot_table(found),
    )
    yield section("Example customers", *_examples(evaluation, drivers))
    yield section("What the hold-out group can show", bullets(_hold_out_lines(spec.campaign, evaluation)))


def _gain_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the share of leaving customers who are reached by calling up to half of all customers."""
    figure, axes = new_figure(4.0)
    draw_curves(axes, evaluation, cap_points, with_auc=False)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="at random")
    axes.set(xlim=(0, 0.5), ylim=(0, 1.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    label_axes(axes, "customers called, the riskiest first, %", "share of the leaving customers, %")
    axes.legend(loc="lower right")
    return figure


def _lift_plot(evaluation: ModelEvaluation) -> Figure:
    """Plot the share of customers who left, by tenth of the customers in the order of risk."""
    figure, axes = new_figure(3.6)
    order = np.argsort(-evaluation.hold_out.pds, kind="stable")
    tenths = np.array_split(evaluation.hold_out.labels[order], _TENTHS)
    rates = [float(tenth.mean()) for tenth in tenths if len(tenth)]
    axes.bar(np.arange(1, len(rates) + 1), rates, 0.8, color=BLUE)
    axes.axhline(evaluation.test_quality.bad_rate, color=INK, linewidth=1.0, linestyle=":")
    axes.set_xticks(np.arange(1, len(rates) + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    label_axes(axes, "tenth of the customers, the riskiest first", "share that left, %")
    return figure


def _snapshot_auc_plot(found: CampaignFindings) -> Figure:
    """Plot the AUC of every snapshot with its interval; the colour shows the part of the split."""
    figure, axes = new_figure(3.4)
    for part, color in (("FIT", GREY), ("CALIBRATION", GREY), ("HOLD_OUT", BLUE)):
        some = [(at, month.auc) for at, month in enumerate(found.snapshots) if month.part == part and month.auc]
        if some:
            ends = np.array(
                [[max(0.0, a.estimate - a.low) for _, a in some], [max(0.0, a.high - a.estimate) for _, a in some]]
            )
            shape = "o" if part == "HOLD_OUT" else "s"
            at, values = [at for at, _ in some], [a.estimate for _, a in some]
            axes.errorbar(
                at, values, yerr=ends, fmt=shape, color=color, capsize=3, linewidth=1.4, label=_PART_TITLES[part]
            )
    _label_snapshots(axes, found)
    label_axes(axes, "snapshot", "AUC, with 95 % interval")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3)
    return figure


def _snapshot_rate_plot(found: CampaignFindings) -> Figure:
    """Plot the mean pd of every snapshot, and the share of its customers who left."""
    figure, axes = new_figure(3.4)
    at = np.arange(len(found.snapshots), dtype=np.float64)
    draw_intervals(axes, at, [month.bad_rate for month in found.snapshots], "left, with 95 % interval")
    means = [month.mean_pd for month in found.snapshots]
    axes.plot(at + 0.16, means, "D", color=ORANGE, markersize=4.5, label="mean probability")
    _label_snapshots(axes, found)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    label_axes(axes, "snapshot", "customers, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    return figure


def _label_snapshots(axes: object, found: CampaignFindings) -> None:
    """Label the x axis with the dates of the snapshots."""
    names = [month.period for month in found.snapshots]
    axes.set_xticks(np.arange(len(names)), names, rotation=40, ha="right")  # type: ignore[attr-defined]  # an Axes


def _rule_table(campaign: CampaignSpec, found: CampaignFindings) -> str:
    """Return the table of campaign measures of the model and the rivals."""
    rows = [_rule_row(name, one) for name, one in {"this model": found.model, **found.rivals}.items()]
    capacity = "" if campaign.capacity is None else f" by {campaign.capacity:,} calls after each snapshot"
    head = (
        "rule",
        "AUC",
        "95 % interval",
        "PR-AUC",
        "lift in the top tenth",
        f"reached{capacity}",
        "EMPC per customer",
    )
    reading = "All rules are measured on the same rows. EMPC is the profit of the best campaign per customer, in the currency of the spec."
    return table("Campaign.", reading, head, rows)


def _rule_row(name: str, found: CampaignMetrics) -> tuple[str, ...]:
    """Return the table row of one model."""
    profit = "" if found.profit is None else f"{found.profit.empc:.4f}"
    return (
        name,
        *_auc_cells(found.auc),
        f"{found.pr_auc:.4f}",
        f"{found.lift:.2f}",
        percent(found.capture_rate),
        profit,
    )


def _auc_cells(found: Interval | None) -> tuple[str, str]:
    """Return an AUC and its interval as two cells."""
    return ("", "") if found is None else (f"{found.estimate:.4f}", interval_text(found.low, found.high))


def _snapshot_table(found: CampaignFindings) -> str:
    """Return the table of snapshots."""
    rows = [
        (
            m.period,
            _PART_TITLES[m.part],
            f"{m.customers:,}",
            percent(m.bad_rate.value),
            _rate_interval(m.bad_rate),
            percent(m.mean_pd),
            *_auc_cells(m.auc),
        )
        for m in found.snapshots
    ]
    head = (
        "snapshot",
        "part",
        "customers",
        "left",
        "95 % interval",
        "mean probability",
        "AUC",
        "95 % interval of the AUC",
    )
    reading = "The model was fitted on the snapshots of the part fit, so their AUC is too high. The hold-out was evaluated once."
    return table("Snapshots.", reading, head, rows)


def _rate_interval(found: Estimate) -> str:
    """Return the interval of a share in percent."""
    return percent_interval_text(found.low, found.high)


def _examples(evaluation: ModelEvaluation, drivers: DriverTexts) -> Iterator[str]:
    """Yield the probability and the drivers of four customers in words, as the CRM receives them."""
    found = evaluation.contributions
    log_odds = found.base_value + found.contributions.sum(axis=1)
    order = np.argsort(log_odds, kind="stable")
    yield paragraph(
        "What the CRM receives for four customers of the hold-out, from a very high to a median risk. Each value represents "
        "its interval between two thresholds of the model, so this file contains no person's data."
    )
    for quantile in _EXAMPLE_QUANTILES:
        index = int(order[min(len(order) - 1, math.floor(quantile * len(order)))])
        row, contributions = found.rows[[index]], found.contributions[[index]]
        groups = drivers.drivers(row, contributions)[0]
        words = [drivers.text(group, "en", row[0].tolist()) for group in groups]
        pd = pd_from_log_odds(float(log_odds[index]))
        yield paragraph(f"Probability {percent(pd)}, a higher risk than {percent(quantile, 1)} of the customers:")
        yield bullets(words or ["no feature raises the risk"])


def _hold_out_lines(campaign: CampaignSpec, evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield sentences on the size of the hold-out group and on the smallest effect that it can detect."""
    newest = evaluation.hold_out.latest_per_customer()
    rows = newest.rows
    last = (rows["period"] == rows["period"].max()).to_numpy()
    newest = newest.subset(last)
    in_group = _hold_out_mask(campaign, newest.rows["market"].tolist(), newest.rows["customer_id"].tolist())
    wanted = campaign.capacity or max(1, len(in_group) // _TENTHS)
    riskiest = np.argsort(-newest.pds, kind="stable")[: math.ceil(wanted / (1.0 - campaign.hold_out_share))]
    left_alone, rate = int(in_group[riskiest].sum()), float(newest.pds[riskiest].mean())
    called = len(riskiest) - left_alone
    yield (
        f"campaign {campaign.name!r}: {percent(campaign.hold_out_share)} of the customers, selected by a hash of market, "
        f"customer and campaign, are scored but not contacted; at the last snapshot {int(in_group.sum()):,} of {len(in_group):,}"
    )
    yield (
        f"of the {len(riskiest):,} customers with the highest risk, {called:,} would be called and {left_alone:,} would not; "
        f"{percent(rate)} of these customers are expected to leave if nobody calls them"
    )
    if called and left_alone:
        one = detectable_difference(rate, called, left_alone)
        yield (
            f"one round of calls shows an effect only if it retains at least {100 * one:.0f} more of 100 customers, twelve "
            f"rounds together if they retain at least {100 * one / math.sqrt(12):.0f} more. The effect is the share of the "
            "customers not called who left, minus the share of the called customers who left"
        )
    yield (
        "without a hold-out group, no figure in this report shows whether a call helps, because customers who are likely to "
        "leave are not necessarily customers whom a call can retain"
    )


def _hold_out_mask(
    campaign: CampaignSpec, markets: Sequence[str], customers: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask of the customers in the hold-out group: shape (n,)."""
    return np.array([in_hold_out(campaign, *key) for key in zip(markets, customers, strict=True)], dtype=np.bool_)
