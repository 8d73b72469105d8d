"""States the results of scoring runs in words: churn, the effect of campaigns, and what is not known."""

from collections.abc import Iterator

from training.report.markup import percent, percent_interval_text
from training.results.campaign_effect import CUSTOMERS_MIN, CampaignEffect, CampaignGroup
from training.results.measurement import CampaignResult, ChurnRate, Results
from training.results.observed_churn import ObservedRun

INTENTION_TO_TREAT = (
    "The effect is by intention to treat: it compares every customer whom the campaign could contact with the hold-out group, "
    "whether or not somebody contacted the customer."
)
CONTACTS_UNKNOWN = (
    "No contacts were given. If few customers were contacted, the effect on a contacted customer is larger than the figure; a file of "
    "the contacts (--contacted), such as `python -m server contacts` writes, shows it."
)


def statement(results: Results) -> list[str]:
    """Return the results in words, the most important sentence first."""
    return [
        churn_sentence(results),
        *(effect_sentence(one) for one in results.campaigns),
        *unmeasured_sentences(results),
    ]


def churn_sentence(results: Results) -> str:
    """Return what was expected of the measured runs, and what happened."""
    runs = results.runs
    totals = [run.markets[0].total for run in runs]
    predictions, churned = (sum(getattr(total, name) for total in totals) for name in ("predictions", "churned"))
    expected = sum(total.mean_pd * total.predictions for total in totals) / predictions
    days = f"of {runs[0].observed.run.as_of}"
    if len(runs) > 1:
        days += f" to {runs[-1].observed.run.as_of}"
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    start = (
        f"{what} {days} with {predictions:,} predictions: {percent(expected)} of the customers were expected to leave, and "
        f"{percent(churned / predictions)} left"
    )
    if len(runs) > 1:
        off = [run for run in runs if not run.markets[0].total.is_explained]
        agrees = "in every run, chance explains the difference"
        listed = ", ".join(f"{run.observed.run.as_of} ({_direction(run.markets[0].total)})" for run in off)
        return f"{start}; {f'chance does not explain the difference of {listed}' if off else agrees}."
    total = totals[0]
    interval = f"95 % interval {percent_interval_text(total.observed.low, total.observed.high)}"
    explained = (
        "chance explains the difference"
        if total.is_explained
        else f"{_direction(total)}, and chance does not explain it"
    )
    return f"{start} ({interval}); {explained}."


def _direction(rate: ChurnRate) -> str:
    """Return whether more or fewer customers left than expected."""
    return "more left than expected" if rate.observed.value > rate.mean_pd else "fewer left than expected"


def effect_sentence(campaign: CampaignResult) -> str:
    """Return the effect of a campaign in words."""
    found = campaign.effects[0]
    start = f"Campaign {campaign.name!r}"
    if found.hold_out is None or found.others is None or found.effect is None or found.detectable is None:
        missing = "hold-out group" if found.hold_out is None else "rest of the eligible customers"
        return f"{start}: no effect can be measured, because the {missing} has no customer with a known outcome."
    left = f"{start}: {_group_text(found.hold_out, 'hold-out group')} and {_group_text(found.others, 'other eligible customers')} left"
    interval = f"{100 * found.effect.low:.1f} to {100 * found.effect.high:.1f}"
    return f"{left}, a difference of {100 * found.effect.value:.1f} of 100 customers (95 % interval {interval}). {verdict(found)}"


def _group_text(group: CampaignGroup, name: str) -> str:
    """Return the churn rate of a group in words."""
    return f"{percent(group.rate.value)} of the {name} ({group.churned:,} of {group.predictions:,})"


def verdict(found: CampaignEffect) -> str:
    """Return what an effect shows, and what groups of this size could show."""
    if found.effect is None or found.detectable is None or found.hold_out is None:
        return "A group is empty, so there is no comparison."
    size = f"groups of this size show an effect from {100 * found.detectable:.1f} of 100 in 80 of 100 campaigns"
    if found.has_few_customers:
        return f"The groups are too small for a verdict, which requires {CUSTOMERS_MIN} customers in each ({size})."
    if found.effect.low > 0.0:
        return f"The campaign retained customers; chance does not explain it ({size})."
    if found.effect.high < 0.0:
        return f"More of the customers who could be contacted left; chance does not explain it ({size})."
    if found.is_too_small:
        return (
            f"The groups are too small for a verdict: {percent(found.hold_out.mean_pd)} of the hold-out group were expected to leave, "
            f"so even a campaign that retains everybody would often go unnoticed ({size})."
        )
    return (
        f"Chance alone explains the difference, so no effect is shown, which does not mean that there is none: {size}."
    )


def unmeasured_sentences(results: Results) -> Iterator[str]:
    """Yield a sentence for each market of a run whose outcomes are not known."""
    for one in (*results.unmeasured, *(run.observed for run in results.runs)):
        yield from market_problems(one)


def market_problems(observed: ObservedRun) -> Iterator[str]:
    """Yield a sentence for each market of a run whose outcomes are not known."""
    for market in observed.unmeasured:
        yield (
            f"Left out: run {observed.run.as_of}, market {market.market}, {market.customers:,} predictions: {market.problem}."
        )


def cautions(results: Results) -> list[str]:
    """Return what a reader must know before acting on the figures."""
    found = [caution for run in results.runs for caution in run.observed.cautions]
    for campaign in results.campaigns:
        hold_out = campaign.effects[0].hold_out
        if hold_out is not None and hold_out.contacted:
            found.append(
                f"Campaign {campaign.name!r}: the hold-out group was contacted too ({hold_out.contacted:,} of {hold_out.predictions:,} "
                "predictions), so the figures understate the effect"
            )
        if campaign.runs > 1:
            found.append(
                f"Campaign {campaign.name!r} has {campaign.runs} runs. From its second run on, earlier contacts have changed who is still "
                "scored and in which band, so the groups are no longer alike in everything else; the first run is the cleanest comparison"
            )
    return found
