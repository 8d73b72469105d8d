"""What the monitoring names: drifts of inputs and changes of the relation between inputs and defaults, worst first."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from server.model_monitoring.drift import DriftReview, SeriesDrift
from server.model_monitoring.vintages import Vintage, VintageReview, has_level_change, has_order_change

FindingKind = Literal["DRIFT", "CONCEPT_CHANGE"]


@dataclass(frozen=True, slots=True)
class ModelChange:
    """Something that changed in a market.

    Attributes:
        kind: DRIFT if other customers apply than those of the training; CONCEPT_CHANGE if customers with the same inputs
            default more or less often than the model states.
        market: The market.
        bundle_id: The bundle.
        month: The first month with an alarm. For a CONCEPT_CHANGE, the month of the decisions.
        last_month: The last month with an alarm.
        is_from_start: Whether the first month that was tested already has an alarm, so that the beginning is unknown.
        series: For a DRIFT, the features with an alarm, worst first, and LOG_ODDS; for a CONCEPT_CHANGE "level", "order"
            or both.
        significance: -log10 of the p-value of the worst test, for both kinds.
        text: A sentence for people.
        is_serving: Whether the bundle decided in the newest month of the market. If not, another one has replaced it, and
            the finding is about the past.
    """

    kind: FindingKind
    market: str
    bundle_id: str
    month: str
    last_month: str
    is_from_start: bool
    series: tuple[str, ...]
    significance: float
    text: str
    is_serving: bool = True


def find_changes(
    drift: DriftReview, vintages: VintageReview, serving: Collection[tuple[str, str]]
) -> tuple[ModelChange, ...]:
    """Return all findings: first those of the bundles that serve, then those of the past, each worst first.

    Args:
        drift: The drift of all series.
        vintages: All vintages.
        serving: The market and the bundle of the decisions in the newest month of each market.
    """
    found = [
        replace(each, is_serving=(each.market, each.bundle_id) in serving)
        for each in (*_find_drifts(drift), *_find_concept_changes(vintages))
    ]
    return tuple(sorted(found, key=lambda each: (not each.is_serving, -each.significance, each.market, each.month)))


def _find_drifts(drift: DriftReview) -> Iterable[ModelChange]:
    """Yield one finding for each market, bundle and span of months; the spans of different series that overlap are one."""
    groups: dict[tuple[str, str], list[SeriesDrift]] = {}
    for each in drift.series:
        groups.setdefault((each.market, each.bundle_id), []).append(each)
    for (market, bundle_id), group in groups.items():
        tested = min((each.month for each in group if each.psi is not None), default="")
        alarms = [each for each in group if each.verdict == "DRIFT"]
        for span in _overlapping_spans(alarms):
            yield _drift_finding(market, bundle_id, span, is_from_start=span[0].month == tested)


def _overlapping_spans(alarms: Sequence[SeriesDrift]) -> list[list[SeriesDrift]]:
    """Return alarms in groups, each sorted by month. A series belongs to one group, from its first to its last alarm."""
    by_series: dict[str, list[SeriesDrift]] = {}
    for each in sorted(alarms, key=lambda each: each.month):
        by_series.setdefault(each.series, []).append(each)
    spans: list[list[SeriesDrift]] = []
    last = ""
    for own in sorted(by_series.values(), key=lambda each: each[0].month):
        if spans and own[0].month <= last:
            spans[-1].extend(own)
        else:
            spans.append(list(own))
            last = ""
        last = max(last, own[-1].month)
    return [sorted(span, key=lambda each: each.month) for span in spans]


def _drift_finding(market: str, bundle_id: str, span: Sequence[SeriesDrift], *, is_from_start: bool) -> ModelChange:
    """Return the finding of a span of alarms."""
    worst: dict[str, SeriesDrift] = {}
    for each in span:
        if each.series not in worst or _significance(each) > _significance(worst[each.series]):
            worst[each.series] = each
    series = sorted(worst.values(), key=lambda each: -_significance(each))
    month, last_month = span[0].month, span[-1].month
    named = ", ".join(
        f"{each.series} (PSI {each.psi:.2f} in {each.month}, limit {each.critical:.2f})" for each in series
    )
    since = (
        f"{_since(month, last_month)}, the first month that was tested" if is_from_start else _since(month, last_month)
    )
    difference = "differs from" if is_from_start else "has drifted away from"
    text = f"{market}: the population {difference} the training's since {since}: {named}."
    return ModelChange(
        kind="DRIFT",
        market=market,
        bundle_id=bundle_id,
        month=month,
        last_month=last_month,
        is_from_start=is_from_start,
        series=tuple(each.series for each in series),
        significance=_significance(series[0]),
        text=text,
    )


def _find_concept_changes(review: VintageReview) -> Iterable[ModelChange]:
    """Yield one finding for each market and bundle with a changed vintage."""
    groups: dict[tuple[str, str], list[Vintage]] = {}
    for each in review.vintages:
        if each.level_p is not None or each.order_p is not None:
            groups.setdefault((each.market, each.bundle_id), []).append(each)
    for (market, bundle_id), group in groups.items():
        group.sort(key=lambda each: each.month)
        changed = [each for each in group if each.verdict == "CHANGED"]
        if changed:
            yield _concept_finding(market, bundle_id, group, changed, review.rate)


def _concept_finding(
    market: str, bundle_id: str, group: Sequence[Vintage], changed: Sequence[Vintage], rate: float
) -> ModelChange:
    """Return the finding of the changed vintages of a market."""
    month, last_month = changed[0].month, changed[-1].month
    is_from_start = month == group[0].month
    kinds = {"level": has_level_change, "order": has_order_change}
    series = tuple(name for name, is_alarm in kinds.items() if any(is_alarm(each, rate) for each in changed))
    before = [each for each in group if each.month < month]
    after = [each for each in group if month <= each.month <= last_month]
    since = (
        f"{_since(month, last_month)}, the first vintage that was judged"
        if is_from_start
        else _since(month, last_month)
    )
    text = f"{market}: customers with the same inputs default differently from the pds since vintage {since}: {_totals(after)}"
    text += f"; before: {_totals(before)}" if before else ""
    if "order" in series:
        slopes = [each.slope for each in changed if each.slope is not None and has_order_change(each, rate)]
        text += f"; the pds separate with a slope of {min(slopes):.2f} instead of 1"
    return ModelChange(
        kind="CONCEPT_CHANGE",
        market=market,
        bundle_id=bundle_id,
        month=month,
        last_month=last_month,
        is_from_start=is_from_start,
        series=series,
        significance=max(_significance(each) for each in changed),
        text=f"{text}.",
    )


def _significance(tested: SeriesDrift | Vintage) -> float:
    """Return -log10 of the p-value of the worst test; 0 if there is none."""
    return tested.significance or 0.0


def _totals(vintages: Sequence[Vintage]) -> str:
    """Return the defaults of vintages in words."""
    customers = sum(each.customers for each in vintages)
    defaults = sum(each.customers * each.observed_rate.value for each in vintages if each.observed_rate)
    expected = sum(each.customers * (each.expected_rate or 0.0) for each in vintages)
    return f"{round(defaults):,} of {customers:,} booked customers defaulted, {expected:,.1f} were expected"


def _since(month: str, last_month: str) -> str:
    """Return a span of months in words."""
    return month if month == last_month else f"{month} (last seen in {last_month})"
