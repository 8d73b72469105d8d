"""The results of scoring runs as a page for people: what happened, and what the campaign changed, in the first sentences."""

from collections.abc import Iterator, Sequence

from training.measures.proportions import Estimate
from training.report.markup import (
    box,
    bullets,
    figure,
    interval_text,
    paragraph,
    percent,
    percent_interval_text,
    section,
    table,
    whole_page,
)
from training.report.svg import plot_style, render_svg
from training.results.campaign_effect import CampaignEffect, CampaignGroup
from training.results.measurement import CampaignResult, ChurnRate, MarketResult, Results, RunResult, SpendAtRisk
from training.results.plots import effect_plot, rate_plot
from training.results.statement import (
    CONTACTS_UNKNOWN,
    INTENTION_TO_TREAT,
    cautions,
    churn_sentence,
    effect_sentence,
    unmeasured_sentences,
    verdict,
)
from training.sources.transaction_log import TransactionLog
from training.spec import Spec

_RATE_HEAD = ("band", "predictions", "expected to leave", "left", "left, %", "95 % interval")


def results_page(spec: Spec, results: Results, log: TransactionLog, notes: list[str]) -> str:
    """Return the page as HTML; equal arguments lead to equal bytes.

    Args:
        spec: The spec of the family.
        results: The results.
        log: The transaction log, which may be closed.
        notes: Sentences about how the runs were read.
    """
    with plot_style():
        parts = [
            _first_screen(spec, results, notes),
            section("By month", *_month_parts(results)),
            *(_campaign_section(results, number, one) for number, one in enumerate(results.campaigns)),
            *(_run_section(results, number, run) for number, run in enumerate(results.runs)),
            section("Left out", *_left_out_parts(results, log)),
            section("How to read this page", bullets(_reading_texts(results))),
        ]
    footer = f"<footer>{bullets(_versions(results, log.digest))}</footer>"
    return whole_page(f"Results of scoring runs: {spec.title}", "".join(parts) + footer)


def _first_screen(spec: Spec, results: Results, notes: list[str]) -> str:
    """Return the summary: what happened, what the campaign changed, what is not known, and cautions."""
    effects = [paragraph(effect_sentence(one)) for one in results.campaigns]
    none = [paragraph("The runs have no hold-out group, so the effect of a campaign cannot be measured.")]
    boxes = [box("What the campaign changed", effects or none)]
    if left_out := list(unmeasured_sentences(results)):
        boxes.append(box("Not known yet", [bullets(left_out)], "warn"))
    if found := [*cautions(results), *notes]:
        boxes.append(box("Before you act on it", [bullets(found)], "warn"))
    return (
        f"<header><h1>Results of scoring runs</h1>{paragraph(spec.title)}"
        f"{paragraph(churn_sentence(results), 'lead')}"
        f'<div class="first">{"".join(boxes)}</div></header>'
    )


def _month_parts(results: Results) -> Iterator[str]:
    """Yield the plot and the table of the months."""
    overall = [month for month in results.months if month.market == "all"]
    plot = rate_plot([month.total for month in overall], [month.month for month in overall], "month of the run")
    yield figure(
        "Churn by month.",
        "If a diamond lies within its interval, the predictions agree with what happened.",
        render_svg(plot, "months", "Expected and observed churn rate by month"),
    )
    rows = [
        (
            month.month,
            month.market,
            f"{month.runs:,}",
            f"{month.total.predictions:,}",
            percent(month.total.mean_pd),
            *_rate_cells(month.total),
            *_effect_cells(None if month.effect is None else month.effect.effect),
        )
        for month in results.months
    ]
    head = ("month", "market", "runs", "predictions", "expected to leave", "left, %", "95 % interval")
    yield table(
        "Months.",
        "The last columns are the effect of the campaign: customers retained, of 100. A month is that of the as-of day of a run.",
        (*head, "retained of 100", "95 % interval of the effect"),
        rows,
    )


def _rate_cells(rate: ChurnRate) -> tuple[str, str]:
    """Return an observed churn rate and its interval as cells."""
    return percent(rate.observed.value), percent_interval_text(rate.observed.low, rate.observed.high)


def _effect_cells(found: Estimate | None) -> tuple[str, str]:
    """Return an effect, of 100 customers, and its interval as cells; empty cells if there is none."""
    if found is None:
        return ("", "")
    return f"{100 * found.value:.1f}", interval_text(100 * found.low, 100 * found.high, 1)


def _campaign_section(results: Results, number: int, campaign: CampaignResult) -> str:
    """Return the section about the effect of a campaign over all of its runs."""
    what = "1 run" if campaign.runs == 1 else f"{campaign.runs} runs"
    parts = [
        paragraph(effect_sentence(campaign)),
        paragraph(
            f"{what}; a hash of market, customer and campaign holds {percent(campaign.hold_out_share)} of the customers out. "
            "Suppressed customers and key accounts are in neither group."
        ),
        *_effect_parts(results, f"campaign-{number}", campaign.effects),
        paragraph(INTENTION_TO_TREAT + ("" if results.contacts else f" {CONTACTS_UNKNOWN}")),
    ]
    return section(f"Effect of the campaign {campaign.name!r}", *parts)


def _effect_parts(results: Results, name: str, effects: Sequence[CampaignEffect]) -> Iterator[str]:
    """Yield the plot and the table of effects."""
    if any(one.effect is not None for one in effects):
        yield figure(
            "Effect by group of customers.",
            "Chance explains an interval that crosses the dotted line. Of twenty intervals, one misses the true effect.",
            render_svg(effect_plot(effects), name, "Customers retained, of 100, by group of customers"),
        )
    head = [
        "customers",
        *(f"{column}{group}" for group in ("hold-out", "others") for column in ("", "expected, ", "left, ")),
        *("retained of 100", "95 % interval", "detectable from"),
    ]
    rows = [
        (
            one.name,
            *_group_cells(one.hold_out),
            *_group_cells(one.others),
            *_effect_cells(one.effect),
            "" if one.detectable is None else f"{100 * one.detectable:.1f}",
        )
        for one in effects
    ]
    reading = "Both groups should be expected to leave equally often, because a hash assigned them."
    yield table("Hold-out group against the other eligible customers.", reading, head, rows)
    if results.contacts is not None:
        yield _contact_table(effects)


def _group_cells(group: CampaignGroup | None) -> tuple[str, str, str]:
    """Return the cells of a group: predictions, expected and observed churn rate."""
    if group is None:
        return ("0", "", "")
    return (f"{group.predictions:,}", percent(group.mean_pd), percent(group.rate.value))


def _contact_table(effects: Sequence[CampaignEffect]) -> str:
    """Return the table of the contacts of both groups, and of the effect per contacted customer."""
    rows = [
        (
            one.name,
            *(f"{(group.contacted or 0) if group else 0:,}" for group in (one.hold_out, one.others)),
            *_effect_cells(one.per_contact),
        )
        for one in effects
    ]
    head = ("customers", "contacted, hold-out", "contacted, others", "retained of 100 contacted", "95 % interval")
    return table("Contacts.", "Predictions that were followed by a contact within the horizon.", head, rows)


def _run_section(results: Results, number: int, run: RunResult) -> str:
    """Return the section about a run."""
    whole, name = run.markets[0], f"run-{number}"
    plot = rate_plot(whole.bands, [band.name for band in whole.bands], "band")
    parts = [
        paragraph(_market_sentence(whole)),
        figure(
            "Churn by band.",
            "If a diamond lies within its interval, the predictions of the band agree with what happened.",
            render_svg(plot, name, f"Expected and observed churn rate by band, run of {run.observed.run.as_of}"),
        ),
        *(part for market in run.markets for part in _market_parts(market)),
    ]
    if run.effects and len(results.runs) > 1:
        parts.append(paragraph(f"Effect of the campaign in this run: {verdict(run.effects[0])}"))
        parts += _effect_parts(results, f"{name}-effect", run.effects)
    return section(f"Run of {run.observed.run.as_of}", *parts)


def _market_sentence(found: MarketResult) -> str:
    """Return how well the model ranked the customers of a run, in words."""
    if found.auc is None or found.lift is None:
        return f"{found.total.predictions:,} predictions; {'; '.join(found.remarks)}."
    pairs = round(100 * found.auc.estimate)
    return (
        f"{found.total.predictions:,} predictions. In {pairs} of 100 pairs of a customer who left and one who stayed, the one who left "
        f"had the higher probability (AUC {found.auc.estimate:.4f}, 95 % interval {interval_text(found.auc.low, found.auc.high)}). The "
        f"riskiest tenth left {found.lift:.1f} times as often as all customers (lift)."
    )


def _market_parts(found: MarketResult) -> Iterator[str]:
    """Yield the table and the amounts of a run in a market."""
    where = "all markets" if found.market == "all" else f"market {found.market}"
    rows = [
        (one.name, f"{one.predictions:,}", percent(one.mean_pd), f"{one.churned:,}", *_rate_cells(one))
        for one in (*found.bands, found.total)
    ]
    reading = f"Expected against observed churn, {where}."
    yield table(f"Bands, {where}.", reading, _RATE_HEAD, rows)
    if found.market != "all":
        yield paragraph(_market_sentence(found))
    if found.spend is not None:
        yield paragraph(_spend_sentence(found.spend))


def _spend_sentence(spend: SpendAtRisk) -> str:
    """Return the value at risk against the lost spend in words."""
    at_risk, lost, expected = (
        f"{amount / 100:,.2f} {spend.currency}" for amount in (spend.at_risk, spend.lost, spend.expected)
    )
    return (
        f"Value at risk: {at_risk} of an expected spend of {expected} within the horizon. The customers who left were expected to spend "
        f"{lost}."
    )


def _left_out_parts(results: Results, log: TransactionLog) -> Iterator[str]:
    """Yield the markets, customers and lines of the log that are left out."""
    observed = [*results.unmeasured, *(run.observed for run in results.runs)]
    rows = [(f"{one.run.as_of}", code, f"{count:,}") for one in observed for code, count in one.left_out.items()]
    if unmeasured := list(unmeasured_sentences(results)):
        yield bullets(unmeasured)
    if rows:
        reading = (
            "Customers of the measured markets without a prediction or a known outcome. ENDED: closed, blocked or moved within the "
            "horizon, which is not churn. MOVED: continued under another number ([aliases])."
        )
        yield table("Customers.", reading, ("run", "reason", "customers"), rows)
    else:
        yield paragraph("Every customer of a measured market has a prediction and a known outcome.")
    lines = [(label, f"{count:,}") for label, count in log.waterfall]
    yield table("Lines of the log.", "A line that is left out counts as no purchase.", ("lines", "count"), lines)


def _reading_texts(results: Results) -> Iterator[str]:
    """Yield how the figures were measured."""
    yield "A customer left if no purchase falls into the horizon. Its first day is the as-of day of the run. A return is no purchase."
    yield (
        "Intervals of rates are Wilson's, those of effects Newcombe's, at 95 %. If a customer has several predictions, both use the "
        "number of independent predictions that would be as uncertain. Intervals of the AUC are from 1,000 bootstrap samples of customers."
    )
    yield (
        "The effect is the churn rate of the hold-out group minus that of the other eligible customers: customers retained, of 100. An "
        "effect from the size in the column 'detectable from' is shown in 80 of 100 campaigns."
    )
    yield "A prediction is what was expected when the run was scored. A successful campaign makes it look too high, except in the hold-out group."
    yield "Bands are those of the probability. A server may have kept a customer near a bound in the band of the run before."
    yield "Do not use these outcomes to choose whom a campaign contacts: this page and its JSON contain groups only, no customer."
    if results.contacts is not None:
        yield (
            "The effect per contacted customer is the effect divided by the difference of the shares of contacted customers. It assumes "
            "that a campaign changes nothing for customers who are not contacted."
        )


def _versions(results: Results, data_sha256: str) -> Iterator[str]:
    """Yield the identities of the runs, their files and the log."""
    for one in (*results.unmeasured, *(run.observed for run in results.runs)):
        run = one.run
        yield (
            f"Run {run.manifest.run_id} as of {run.as_of}, horizon {run.manifest.horizon_days} days, bundle {run.manifest.bundle_id}, "
            f"file {run.path.name}, SHA-256 {run.sha256}"
        )
    yield f"Transaction log: SHA-256 {data_sha256}"
    if results.contacts is not None:
        yield f"Contacts: SHA-256 {results.contacts.sha256}"
