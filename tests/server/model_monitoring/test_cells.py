"""Single cells of the monitoring: what counts as an outcome, what is said about an input, and what is not said."""

import datetime as dt
import html
import math
import os
import re
import uuid
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.type.date_pb2 import Date
from prometheus_client.parser import text_string_to_metric_families

from grounds.audit.v1 import audit_pb2, bodies_pb2
from grounds.credit.v1 import credit_pb2
from grounds_record.header import SUBJECT_LABEL
from models.bundle import Bundle
from models.bundle_documents import BinnedValues, FeaturePopulation, PopulationDocument, SchemaDocument
from models.schema import UNSEEN, Schema
from server.decisions.policy import PolicyOutcome
from server.edges.explanations import timestamp
from server.model_monitoring.alert_figures import write_figures
from server.model_monitoring.decision_rates import decision_rates
from server.model_monitoring.document import summary_lines, watch_document
from server.model_monitoring.drift import DriftReview, SeriesDrift, review_drift
from server.model_monitoring.findings import find_changes
from server.model_monitoring.months import add_months, last_complete_months
from server.model_monitoring.page import render_page
from server.model_monitoring.recorded_window import CellKey, WatchedCell, WatchedDecision, WatchedWindow, read_window
from server.model_monitoring.review import WatchOptions, review_cells
from server.model_monitoring.vintages import VintageReview, review_vintages
from server.stores.record_log.decision_index import DecisionQuery
from server.stores.record_log.entries import LogEntry
from tests.server.record_logs import entry, open_test_log
from tests.small import SmallFamily

DAY = dt.datetime(2025, 3, 10, 12, tzinfo=dt.UTC)
WINDOW = DecisionQuery(start=dt.datetime(2025, 3, 1, tzinfo=dt.UTC), end=dt.datetime(2025, 4, 1, tzinfo=dt.UTC))
LATER = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def decision(customer_id: str, **features: float) -> LogEntry:
    """Return the entry of an approved decision."""
    record = audit_pb2.DecisionRecord(
        answer=credit_pb2.CreditDecision(decision=credit_pb2.DECISION_APPROVE).SerializeToString(),
        bundle_id="b" * 64,
        decide_time=timestamp(DAY),
        numbers=audit_pb2.ModelNumbers(log_odds=-2.0, pd=1 / (1 + math.exp(2.0))),
    )
    for name, number in features.items():
        fed = record.features.add(feature=name, number=number)
        if not math.isnan(number):
            fed.value.number = number
            fed.as_of_time.CopyFrom(timestamp(DAY - dt.timedelta(days=9)))
    return entry(record.SerializeToString(), time=DAY, customer=("DE", customer_id))


def event(of: LogEntry, message: credit_pb2.Override | credit_pb2.Outcome, days: int = 30) -> LogEntry:
    """Return the entry of an event of a decision."""
    message.decision_id = of.record_id
    is_override = isinstance(message, credit_pb2.Override)
    return entry(
        bodies_pb2.EventRecord(answer=message.SerializeToString()).SerializeToString(),
        kind="CREDIT_OVERRIDE" if is_override else "CREDIT_OUTCOME",
        time=DAY + dt.timedelta(days=days),
        customer=of.customer,
        labels={"market": "DE", SUBJECT_LABEL: of.record_id},
    )


def outcome(corrects: str = "", **event_field: Any) -> credit_pb2.Outcome:
    """Return an outcome of the eighth of June 2025."""
    return credit_pb2.Outcome(
        outcome_id=str(uuid.uuid4()),
        event_date=Date(year=2025, month=6, day=8),
        corrects_outcome_id=corrects,
        **event_field,
    )


def read(folder: Path, entries: list[LogEntry]) -> WatchedWindow:
    """Write entries to a log, and read the window."""
    with open_test_log(f"sqlite:///{folder / 'log.db'}", folder) as log:
        assert not [each for each in log.append(entries) if isinstance(each, Exception)]
        return read_window(log, WINDOW, LATER, purpose="test", operator="ana", at=LATER)


BOOKED: dict[str, Any] = {"booked": credit_pb2.Booked()}
DEFAULT: dict[str, Any] = {"default": credit_pb2.Default(trigger_code="DPD_90")}


def test_a_corrected_default_does_not_count_and_one_without_a_booking_is_counted_apart(tmp_path: Path) -> None:
    first, second, third = (decision(f"C{number}", x=1.0) for number in range(3))
    mistaken = outcome(**DEFAULT)
    events = [
        event(first, outcome(**BOOKED)),
        event(first, outcome(**DEFAULT)),
        event(second, outcome(**BOOKED)),
        event(second, mistaken),
        event(second, outcome(mistaken.outcome_id, cure=credit_pb2.Cure()), days=40),
        event(third, outcome(**DEFAULT)),
    ]

    window = read(tmp_path, [first, second, third, *events])

    (cell,) = window.cells.values()
    assert [(each.is_booked, each.default_day) for each in cell.decisions] == [
        (True, dt.date(2025, 6, 8)),
        (True, None),
        (False, dt.date(2025, 6, 8)),
    ]
    (vintage,) = review_vintages(window.cells, {}, dt.date(2027, 1, 1), 12, 0.05).vintages
    assert (vintage.booked, vintage.defaults, vintage.unbooked_defaults) == (2, 1, 1)
    assert (window.counts.read, window.counts.outcomes) == (3, 6)


def test_the_last_override_is_in_force_unless_it_is_withdrawn(tmp_path: Path) -> None:
    first, second = decision("C1", x=1.0), decision("C2", x=1.0)
    high, withdrawal = credit_pb2.OVERRIDE_SIDE_HIGH, credit_pb2.OVERRIDE_SIDE_WITHDRAWAL
    events = [
        event(first, credit_pb2.Override(side=high)),
        event(first, credit_pb2.Override(side=withdrawal), days=31),
        event(second, credit_pb2.Override(side=withdrawal)),
        event(second, credit_pb2.Override(side=high), days=31),
    ]

    (cell,) = read(tmp_path, [first, second, *events]).cells.values()
    assert [each.override_side for each in cell.decisions] == [None, high]
    cell.decisions = [replace(each, customer=number) for number in range(50) for each in cell.decisions]
    (rates,) = decision_rates({("DE", "2025-03", "b"): cell})

    assert rates.override is not None
    assert (rates.override.value, dict(rates.sides)) == (0.5, {"HIGH": 50})


@pytest.mark.parametrize(("customers", "decisions"), [(1, 1), (49, 49), (49, 98), (50, 50), (50, 100)])
def test_no_rate_and_no_count_by_group_of_few_customers_is_published(
    bundle: Bundle, tmp_path: Path, customers: int, decisions: int
) -> None:
    cell = served_cell([(0.0, 1.0)] * decisions)
    for number, each in enumerate(cell.decisions):
        each.customer, each.override_side = number % customers, credit_pb2.OVERRIDE_SIDE_HIGH
    window = WatchedWindow(DAY, LATER, LATER, cells={("DE", "2025-03", "b"): cell})

    document = watch_document(review_cells(window, {"b": bundle}, WatchOptions(12, 0.05, "")))
    write_figures(tmp_path / "watch.prom", document, LATER)
    published = re.findall(
        r"^grounds_watch_(\w+_ratio|estimated_gini)\{", (tmp_path / "watch.prom").read_text(), re.MULTILINE
    )

    (row,), (estimate,) = document["decisions"], document["estimates"]
    is_said = customers >= 50
    assert (row["decisions"], estimate["scored"]) == (decisions, decisions)
    for name in ("approval", "referral", "override", "outcomes", "grades", "sides"):
        assert bool(row[name]) == is_said, name
    assert (estimate["default_rate"] is None, estimate["gini"] is None) == (not is_said, not is_said)
    rates = ["approval_ratio", "referral_ratio", "override_ratio", "estimated_default_ratio", "estimated_gini"]
    assert [name for name in rates if name in published] == (rates if is_said else [])
    assert ("APPROVE" in render_page(document)) == is_said


@pytest.mark.parametrize("newest", [49, 50])
def test_no_figure_of_an_earlier_month_is_published_as_that_of_the_newest(
    bundle: Bundle, tmp_path: Path, newest: int
) -> None:
    earlier, later = served_cell([(0.0, 1.0)] * 60), served_cell([(0.0, 1.0)] * newest)
    for each in later.decisions:
        each.pd = 0.25
    window = WatchedWindow(DAY, LATER, LATER, cells={("DE", "2025-03", "b"): earlier, ("DE", "2025-04", "b"): later})

    document = watch_document(review_cells(window, {"b": bundle}, WatchOptions(12, 0.05, "")))
    write_figures(tmp_path / "watch.prom", document, LATER)
    lines = (tmp_path / "watch.prom").read_text().splitlines()
    names = ("approval_ratio", "referral_ratio", "override_ratio", "estimated_default_ratio", "estimated_gini")
    found = {name: line.split()[-1] for line in lines for name in names if line.startswith(f"grounds_watch_{name}{{")}

    assert sorted(found) == (sorted(names) if newest == 50 else [])
    assert found.get("estimated_default_ratio", "0.25") == "0.25"


def test_a_customer_counts_once_a_month_for_distributions_and_each_decision_counts_for_rates(tmp_path: Path) -> None:
    entries = [decision("C1", x=1.0, y=math.nan), decision("C1", x=5.0, y=2.0), decision("C2", x=2.0, y=3.0)]

    window = read(tmp_path, entries)

    (cell,) = window.cells.values()
    assert (len(cell.decisions), cell.customers) == (3, 2)
    assert cell.values()[:, 0].tolist() == [1.0, 2.0]
    assert cell.ages()[1].tolist() == [9.0, 9.0]
    assert math.isnan(cell.values()[0, 1])
    assert math.isnan(cell.ages()[0, 1])


def test_events_of_decisions_outside_the_window_are_ignored(tmp_path: Path) -> None:
    old = entry(decision("C1", x=1.0).body, time=DAY - dt.timedelta(days=60))

    window = read(tmp_path, [old, decision("C2", x=1.0), event(old, outcome(**BOOKED), days=5)])

    assert (window.counts.decisions, window.counts.outcomes) == (1, 0)


@pytest.fixture(scope="module")
def bundle(small: SmallFamily) -> Bundle:
    """Return a bundle with a category and a number, whose population has 1,000 rows."""
    schema = SchemaDocument.model_validate(
        {
            "features": [
                {"name": "sector", "description": "Sector", "kind": "category", "levels": ["A", "B"], "group": "G"},
                {"name": "x", "description": "Number", "group": "G"},
            ],
            "groups": [{"code": "G", "texts": {"en": "Group"}}],
        }
    )
    population = PopulationDocument(
        rows=1_000,
        features={
            "sector": FeaturePopulation(missing=0, levels={"A": 500, "B": 500}),
            "x": FeaturePopulation(missing=200, min=0.0, max=10.0, bins=BinnedValues(edges=(5.0,), counts=(400, 400))),
        },
        log_odds=BinnedValues(edges=(-2.0, -1.0), counts=(300, 400, 300)),
    )
    return replace(small.bundle(), schema=Schema(schema), population=population)


def served_cell(rows: list[tuple[float, float]]) -> WatchedCell:
    """Return a cell with these inputs, and log-odds as in training."""
    cell = WatchedCell(("sector", "x"))
    cell.decisions = [
        WatchedDecision(DAY.date(), PolicyOutcome.APPROVE, "A", 0.1, -1.5, number) for number in range(len(rows))
    ]
    cell._customers = set(range(len(rows)))
    cell._values = array("d", [value for row in rows for value in row])
    cell._ages = array("d", [9.0] * (2 * len(rows)))
    cell.log_odds = array("d", [(-2.5, -1.5, -1.5, -0.5)[number % 4] for number in range(len(rows))])
    return cell


def drift_of(bundle: Bundle, rows: list[tuple[float, float]]) -> dict[str, SeriesDrift]:
    """Return the drift of one month by series."""
    review = review_drift({("DE", "2025-03", "b"): served_cell(rows)}, {"b": bundle}, 0.025)
    return {each.series: each for each in review.series}


def test_unseen_levels_missing_values_and_numbers_out_of_range_are_bins_or_shares_of_their_own(bundle: Bundle) -> None:
    usual = [(float(number % 2), (2.0, 7.0, 2.0, 7.0, math.nan)[number % 5]) for number in range(200)]
    strange = [
        (UNSEEN if number < 30 else sector, 99.0 if number < 50 else x) for number, (sector, x) in enumerate(usual)
    ]

    before, after = drift_of(bundle, usual), drift_of(bundle, strange)

    assert {each.verdict for each in before.values()} == {"STABLE"}
    assert before["x"].missing_share == before["x"].population_missing_share == 0.2
    assert (after["sector"].unseen_share, after["sector"].verdict) == (0.15, "DRIFT")
    assert (after["x"].outside_share, after["x"].age_days) == (0.25, 9.0)
    assert before["sector"].unseen_share == before["x"].outside_share == 0.0
    assert {each.customers for each in after.values()} == {200}


def test_nothing_but_counts_is_said_about_few_customers(bundle: Bundle) -> None:
    for each in drift_of(bundle, [(UNSEEN, 99.0)] * 99).values():
        assert (each.verdict, each.customers) == ("TOO_FEW_ROWS", 99)
        assert (each.psi, each.missing_share, each.unseen_share, each.outside_share, each.age_days) == (None,) * 5
    few = {("DE", "2025-03", "b"): served_cell([(0.0, 1.0)] * 40)}
    for decided in few["DE", "2025-03", "b"].decisions:
        decided.is_booked = True

    (vintage,) = review_vintages(few, {"b": bundle}, dt.date(2027, 1, 1), 12, 0.05).vintages

    assert (vintage.verdict, vintage.booked, vintage.defaults) == ("TOO_FEW_ROWS", 40, 0)
    assert (vintage.expected_rate, vintage.observed_rate, vintage.gini, vintage.expected_gini) == (None,) * 4
    assert [each.expected_rate for each in vintage.grades] == [None]


def alarm(market: str, series: str, month: str, psi: float = 0.5) -> SeriesDrift:
    """Return an alarm whose limit is 0.2, or a stable month if the PSI is below."""
    verdict = "DRIFT" if psi > 0.2 else "STABLE"
    figures: dict[str, Any] = dict.fromkeys(
        ("missing_share", "population_missing_share", "unseen_share", "outside_share", "age_days")
    )
    return SeriesDrift(market, month, "b", series, 500, 1_000, psi, 0.2, 100 * psi, **figures, verdict=verdict)  # type: ignore[arg-type]


def test_drifts_of_several_inputs_in_overlapping_months_are_one_finding_and_the_worst_finding_is_first() -> None:
    series = (
        alarm("DE", "x", "2025-01", 0.01),
        alarm("DE", "x", "2025-02"),
        alarm("DE", "x", "2025-04", 0.9),
        alarm("DE", "y", "2025-03", 0.4),
        alarm("DE", "z", "2025-06", 0.3),
        alarm("FR", "x", "2025-01", 4.0),
    )

    found = find_changes(DriftReview(series, 6, 0.01), VintageReview((), 0, 0.01), {("DE", "b"), ("FR", "b")})

    assert [(each.market, each.month, each.last_month, each.series, each.is_from_start) for each in found] == [
        ("FR", "2025-01", "2025-01", ("x",), True),
        ("DE", "2025-02", "2025-04", ("x", "y"), False),
        ("DE", "2025-06", "2025-06", ("z",), False),
    ]
    assert "first month that was tested" in found[0].text
    assert "x (PSI 0.90 in 2025-04, limit 0.20), y (PSI 0.40 in 2025-03, limit 0.20)" in found[1].text


def test_a_finding_ends_when_another_bundle_serves_and_a_new_one_in_the_same_market_is_counted(
    bundle: Bundle, tmp_path: Path
) -> None:
    usual = [(float(number % 2), (2.0, 7.0, 2.0, 7.0, math.nan)[number % 5]) for number in range(200)]
    drifted = [(UNSEEN, x) for _, x in usual]
    bundles: dict[str, Bundle | None] = {"old": bundle, "new": bundle}

    def figures(*months: tuple[str, str, list[tuple[float, float]]]) -> tuple[str, list[bool], float]:
        window = WatchedWindow(DAY, LATER, LATER)
        window.cells = {("DE", month, bundle_id): served_cell(rows) for month, bundle_id, rows in months}
        document = watch_document(review_cells(window, bundles, WatchOptions(12, 0.05, "")))
        write_figures(tmp_path / "watch.prom", document, LATER)
        text = (tmp_path / "watch.prom").read_text()
        (count,) = re.findall(r'^grounds_watch_findings\{kind="DRIFT",market="DE"\} (.*)$', text, re.MULTILINE)
        past = [line for line in summary_lines(document) if line.startswith("  Past, another bundle than old serves")]
        assert len(past) == sum(not each["is_serving"] for each in document["findings"])
        assert all(line.strip() in html.unescape(render_page(document)) for line in past)
        return document["verdict"], [each["is_serving"] for each in document["findings"]], float(count)

    first = ("2025-03", "old", drifted)
    assert figures(first, ("2025-04", "old", usual)) == ("FOUND", [True], 1)
    assert figures(first, ("2025-04", "old", usual), ("2025-04", "new", usual)) == ("FOUND", [True], 1)
    assert figures(first, ("2025-04", "new", usual)) == ("NOTHING_FOUND", [False], 0)
    assert figures(first, ("2025-04", "new", usual), ("2025-05", "new", drifted)) == ("FOUND", [True, False], 1)


def booked_cell(log_odds: float, booked: int, defaults: int) -> WatchedCell:
    """Return a cell of booked credits with the same log-odds, of which some defaulted."""
    cell = served_cell([(0.0, 1.0)] * booked)
    cell.decisions = [
        WatchedDecision(
            *(DAY.date(), PolicyOutcome.APPROVE, "A", 1 / (1 + math.exp(-log_odds)), log_odds, number),
            is_booked=True,
            default_day=DAY.date() if number < defaults else None,
        )
        for number in range(booked)
    ]
    return cell


def level_test(bundle: Bundle, cell: WatchedCell) -> tuple[float, float]:
    """Return the p-value and the significance of the level of a vintage."""
    review = review_vintages({("DE", "2025-03", "b"): cell}, {"b": bundle}, dt.date(2027, 1, 1), 12, 0.05)
    (vintage,) = review.vintages
    assert vintage.level_p is not None
    assert vintage.significance is not None
    return vintage.level_p, vintage.significance


def test_the_rate_of_false_alarms_is_divided_by_the_kinds_and_the_numbers_of_tests(bundle: Bundle) -> None:
    window = WatchedWindow(DAY, LATER, dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    window.cells = {("DE", f"2025-0{month}", "b"): booked_cell(-1.0, 200, 50) for month in range(1, 5)}

    tests = watch_document(review_cells(window, {"b": bundle}, WatchOptions(12, 0.05, "")))["tests"]

    assert tests["drift"]["tests"] == 4 * 3, "two features and the log-odds"
    assert tests["vintages"]["tests"] == 4, "equal log-odds have no order"
    for kind in ("drift", "vintages"):
        assert tests[kind]["rate_of_each"] == pytest.approx(0.05 / 2 / tests[kind]["tests"]), kind


def test_several_credits_of_a_customer_are_counted_and_only_the_first_is_tested(bundle: Bundle) -> None:
    single = booked_cell(-2.0, 200, 45)
    for number, each in enumerate(single.decisions):  # two grades, and pds that differ, so that both tests are made
        each.grade, each.log_odds = "AB"[number % 2], -2.0 + (number % 7 - 3) / 10
        each.pd = 1 / (1 + math.exp(-each.log_odds))
    several = booked_cell(-2.0, 200, 45)
    again = [replace(each, grade="C", default_day=DAY.date()) for each in single.decisions[:60]]
    never_booked = [replace(each, is_booked=False, default_day=None) for each in single.decisions]
    several.decisions = [*never_booked, *single.decisions, *single.decisions, *again]

    one, other = (
        review_vintages({("DE", "2025-03", "b"): cell}, {"b": bundle}, dt.date(2027, 1, 1), 12, 0.05).vintages[0]
        for cell in (single, several)
    )

    assert one.order_p is not None
    assert (one.booked, one.customers, one.defaults) == (200, 200, 45)
    assert (other.booked, other.customers, other.defaults) == (460, 200, 150)
    for name in ("level_p", "order_p", "slope", "expected_rate", "observed_rate", "gini", "expected_gini", "verdict"):
        assert getattr(one, name) == getattr(other, name), name
    assert [(each.grade, each.booked, each.customers, each.observed_rate is None) for each in other.grades] == [
        ("A", 200, 100, False),
        ("B", 200, 100, False),
        ("C", 60, 0, True),
    ]


@pytest.mark.parametrize("booked", [200, 5_000])
def test_both_tails_of_the_level_test_agree_where_one_is_the_mirror_image_of_the_other(
    bundle: Bundle, booked: int
) -> None:
    """Too many defaults of good customers are as probable as too few defaults of equally bad customers."""
    assert bundle.population is not None
    log_odds = BinnedValues(edges=(-2.0, -1.0, 1.0), counts=(300, 400, 300, 100))
    mirrored = BinnedValues(edges=(-1.0, 1.0, 2.0), counts=(100, 300, 400, 300))
    good, bad = (
        replace(bundle, population=bundle.population.model_copy(update={"log_odds": each}))
        for each in (log_odds, mirrored)
    )
    expected = booked / (1 + math.exp(2.0))
    found = []
    for times in (0.2, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0, 5.0):
        defaults = round(times * expected)

        many = level_test(good, booked_cell(-2.0, booked, defaults))
        few = level_test(bad, booked_cell(2.0, booked, booked - defaults))

        assert many == pytest.approx(few, rel=1e-6)
        assert many[0] == pytest.approx(10 ** -many[1], rel=1e-6)
        found.append(many[1])
    assert found[3:] == sorted(set(found[3:])), "more defaults are less probable"
    assert found[-1] > 20


def test_a_larger_change_of_the_default_rate_is_named_before_a_smaller_drift_and_the_other_way_round(
    bundle: Bundle,
) -> None:
    def first(drifted: int, defaults: int) -> str:
        usual = [(float(number % 2), (2.0, 7.0, 2.0, 7.0, math.nan)[number % 5]) for number in range(1_000)]
        rows = [(UNSEEN if number < drifted else sector, x) for number, (sector, x) in enumerate(usual)]
        drift = review_drift({("DE", "2025-03", "b"): served_cell(rows)}, {"b": bundle}, 0.025)
        cells = {("FR", "2025-03", "b"): booked_cell(-2.0, 1_000, defaults)}
        vintages = review_vintages(cells, {"b": bundle}, dt.date(2027, 1, 1), 12, 0.025)
        found = find_changes(drift, vintages, {("DE", "b"), ("FR", "b")})
        assert {each.kind for each in found} == {"DRIFT", "CONCEPT_CHANGE"}
        return found[0].kind

    assert first(drifted=120, defaults=800) == "CONCEPT_CHANGE"
    assert first(drifted=800, defaults=250) == "DRIFT"


def blindness(document: dict[str, Any], path: Path) -> dict[str, float]:
    """Return the markets that the figures for alerts name as judged or not."""
    write_figures(path / "watch.prom", document, LATER)
    text = (path / "watch.prom").read_text()
    found = re.findall(r'^grounds_watch_untested\{market="(..)"\} (.*)$', text, re.MULTILINE)
    return {market: float(value) for market, value in found}


@pytest.mark.parametrize(
    "why",
    [
        "few customers",
        "few customers of the newest bundle",
        "bundle missing",
        "newest bundle missing",
        "records unread",
    ],
)
def test_a_run_that_cannot_judge_one_of_two_markets_says_so_and_does_not_end_like_one_that_found_nothing(
    bundle: Bundle, tmp_path: Path, why: str
) -> None:
    usual = [(float(number % 2), (2.0, 7.0, 2.0, 7.0, math.nan)[number % 5]) for number in range(200)]
    bundles: dict[str, Bundle | None] = {"b": bundle, "new": bundle, "gone": None}
    window = WatchedWindow(DAY, LATER, LATER, cells={("DE", "2025-03", "b"): served_cell(usual)})
    window.counts.markets = ["DE"]
    complete = watch_document(review_cells(window, bundles, WatchOptions(12, 0.05, "")))
    window.counts.markets = ["DE", "FR"]
    if why == "few customers":
        window.cells["FR", "2025-03", "b"] = served_cell(usual[:99])
    elif why == "few customers of the newest bundle":
        window.cells["FR", "2023-05", "b"] = served_cell(usual)
        window.cells |= {("FR", f"2024-0{month}", "new"): served_cell(usual[:20]) for month in range(1, 9)}
    elif why != "records unread":
        window.cells["FR", "2025-03", "gone"] = served_cell(usual)
    if why == "newest bundle missing":
        window.cells["FR", "2025-02", "b"] = served_cell(usual)

    document = watch_document(review_cells(window, bundles, WatchOptions(12, 0.05, "")))

    assert (complete["verdict"], complete["untested_markets"]) == ("NOTHING_FOUND", [])
    assert blindness(complete, tmp_path) == {"DE": 0}
    assert (document["verdict"], document["untested_markets"]) == ("PARTLY_JUDGED", ["FR"])
    assert blindness(document, tmp_path) == {"DE": 0, "FR": 1}
    assert document["summary"].startswith("Nothing found, and 1 market not judged")
    assert "Not judged: FR." in render_page(document)
    window.cells["DE", "2025-04", "b"] = served_cell([(UNSEEN, x) for _, x in usual])
    assert watch_document(review_cells(window, bundles, WatchOptions(12, 0.05, "")))["verdict"] == "FOUND"


@pytest.mark.parametrize(
    "why",
    [
        "few customers",
        "few customers of the newest bundle",
        "another market was named",
        "enough customers, all in one bin",
        "bundle missing",
        "bundle without a population",
        "records unread",
        "a record damaged",
    ],
)
def test_a_market_that_is_expected_to_be_small_is_named_and_no_error_if_few_customers_are_the_only_reason(
    bundle: Bundle, tmp_path: Path, why: str
) -> None:
    is_expected = why.startswith("few customers")
    usual = [(float(number % 2), (2.0, 7.0, 2.0, 7.0, math.nan)[number % 5]) for number in range(200)]
    bundles: dict[str, Bundle | None] = {"b": bundle, "gone": None, "old": replace(bundle, population=None)}
    bundle_id = {"bundle missing": "gone", "bundle without a population": "old"}.get(why, "b")
    cells: dict[CellKey, WatchedCell] = {("DE", "2025-03", "b"): served_cell(usual)}
    if why != "records unread":
        cells["FR", "2025-03", bundle_id] = served_cell(usual[:99])
    if why == "few customers of the newest bundle":
        cells["FR", "2025-02", "gone"] = served_cell(usual)
    if why == "enough customers, all in one bin":
        one = BinnedValues(edges=(), counts=(1_000,))
        constants = {
            "sector": FeaturePopulation(missing=0, levels={"A": 1_000, "B": 0}),
            "x": FeaturePopulation(missing=0, min=0.0, max=10.0, bins=one),
        }
        population = PopulationDocument(rows=1_000, features=constants, log_odds=one)
        bundles["b"] = replace(bundle, population=population)
        bundles["usual"] = bundle
        cells = {
            ("DE", "2025-03", "usual"): served_cell(usual),
            ("FR", "2025-03", "b"): served_cell([(0.0, 1.0)] * 200),
        }
    window = WatchedWindow(DAY, LATER, LATER, cells=cells)
    window.counts.markets = ["DE", "FR"]
    window.counts.left_out["record damaged"] = int(why == "a record damaged")
    small = ("LU",) if why == "another market was named" else ("LU", "FR")

    document = watch_document(review_cells(window, bundles, WatchOptions(12, 0.05, "", small)))

    assert document["untested_markets"] == ["FR"]
    assert document["markets_too_small"] == (["FR"] if is_expected else [])
    assert document["verdict"] == ("NOTHING_FOUND" if is_expected else "PARTLY_JUDGED")
    assert blindness(document, tmp_path) == {"DE": 0, "FR": 0 if is_expected else 1}
    assert document["summary"].startswith("Nothing found, and 1 market not judged")
    assert ("not judged, as expected" in document["summary"]) == is_expected
    text = "Not judged, as expected: FR." if is_expected else "Not judged: FR."
    assert text in render_page(document)
    assert any(text in line for line in summary_lines(document))


def test_a_run_that_judges_only_small_markets_judges_nothing_and_a_small_market_with_a_change_is_found(
    bundle: Bundle,
) -> None:
    window = WatchedWindow(DAY, LATER, LATER, cells={("DE", "2025-03", "b"): served_cell([(0.0, 1.0)] * 99)})
    options = WatchOptions(12, 0.05, "", ("DE",))
    assert watch_document(review_cells(window, {"b": bundle}, options))["verdict"] == "NOTHING_JUDGED"

    window.cells["DE", "2025-03", "b"] = served_cell([(UNSEEN, 1.0)] * 200)
    assert watch_document(review_cells(window, {"b": bundle}, options))["verdict"] == "FOUND"


def test_the_figures_of_a_month_with_two_bundles_are_of_the_bundle_of_the_newest_decision(
    bundle: Bundle, tmp_path: Path
) -> None:
    figures = {}
    for newest, older in (("first", "second"), ("second", "first")):
        cells = {newest: booked_cell(-1.0, 100, 30), older: booked_cell(-3.0, 300, 3)}
        for hour, name in enumerate((older, newest)):
            cells[name].newest = DAY + dt.timedelta(hours=hour)
        window = WatchedWindow(DAY, LATER, dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
        window.cells = {("DE", "2025-03", name): cell for name, cell in cells.items()}
        document = watch_document(review_cells(window, {"first": bundle, "second": bundle}, WatchOptions(12, 0.05, "")))
        write_figures(tmp_path / "watch.prom", document, LATER)
        found = dict(
            re.findall(r"^grounds_watch_(\w+)\{.*\} (.*)$", (tmp_path / "watch.prom").read_text(), re.MULTILINE)
        )
        figures[newest] = {name: float(found[name]) for name in ("default_ratio", "expected_default_ratio")}
        assert float(found["estimated_default_ratio"]) == pytest.approx(1 / (1 + math.exp(1.0)))
        page = render_page(document)
        assert page.count(f'<th scope="row">2025-03 ({newest})</th>') >= 2
        plotted = page[page.index("share of defaults by vintage") :]
        assert plotted[: plotted.index("</svg>")].count("<circle") == 2 + 2, "one point of each line, and the legend"

    assert figures["first"] == figures["second"]
    assert figures["first"] == pytest.approx({"default_ratio": 0.3, "expected_default_ratio": 1 / (1 + math.exp(1.0))})


def read_figures(path: Path, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric of a file for Prometheus, by the values of its labels."""
    families = text_string_to_metric_families(path.read_text())
    samples = (sample for metric in families for sample in metric.samples)
    return {tuple(each.labels.values()): each.value for each in samples if each.name == f"grounds_watch_{name}"}


def test_the_share_of_approvals_is_that_of_all_decisions_of_the_newest_month_of_its_market(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Each cell approves, refers and overrides another share, so that a figure of the wrong cell is wrong."""
    window = WatchedWindow(DAY, LATER, LATER)
    shares = {("DE", "2025-03", "old"): 90, ("DE", "2025-04", "old"): 10, ("DE", "2025-04", "new"): 50}
    shares |= {("FR", "2025-02", "new"): 30, ("FR", "2025-03", "old"): 70}
    for hour, (key, approvals) in enumerate(shares.items()):
        window.cells[key] = served_cell([(0.0, 1.0)] * 100)
        window.cells[key].newest = DAY + dt.timedelta(hours=hour)
        for each in window.cells[key].decisions[approvals:]:
            each.outcome, each.override_side = PolicyOutcome.REFER, credit_pb2.OVERRIDE_SIDE_HIGH
    document = watch_document(review_cells(window, {"old": bundle, "new": bundle}, WatchOptions(12, 0.05, "")))

    write_figures(tmp_path / "watch.prom", document, LATER)

    expected = {("DE",): (10 + 50) / 200, ("FR",): 70 / 100}
    assert read_figures(tmp_path / "watch.prom", "approval_ratio") == expected
    for name in ("referral_ratio", "override_ratio"):
        found = read_figures(tmp_path / "watch.prom", name)
        assert found == pytest.approx({market: 1 - share for market, share in expected.items()}), name


@pytest.mark.parametrize("customers", [20, 200])
def test_an_earlier_bundle_leaves_no_drift_in_the_figures(bundle: Bundle, tmp_path: Path, customers: int) -> None:
    usual = [(float(number % 2), (2.0, 7.0, 2.0, 7.0, math.nan)[number % 5]) for number in range(200)]
    renamed = bundle.schema.features[1].model_copy(update={"name": "z"})
    assert bundle.population is not None
    features = {"sector": bundle.population.features["sector"], "z": bundle.population.features["x"]}
    schema = Schema(bundle.schema.document.model_copy(update={"features": (bundle.schema.features[0], renamed)}))
    successor = replace(bundle, schema=schema, population=bundle.population.model_copy(update={"features": features}))
    window = WatchedWindow(DAY, LATER, LATER)
    window.cells["DE", "2025-03", "old"] = served_cell([(UNSEEN, x) for _, x in usual])
    window.cells["FR", "2025-03", "old"] = served_cell(usual)
    window.cells["DE", "2025-04", "new"] = served_cell(usual[:customers])
    window.cells["DE", "2025-04", "new"].features = ("sector", "z")
    document = watch_document(review_cells(window, {"old": bundle, "new": successor}, WatchOptions(12, 0.05, "")))

    write_figures(tmp_path / "watch.prom", document, LATER)

    found = read_figures(tmp_path / "watch.prom", "psi")
    german = {("DE", series) for series in ("sector", "z", "log-odds") if customers >= 100}
    assert set(found) == german | {("FR", series) for series in ("sector", "x", "log-odds")}
    assert max(found.values()) < 0.1, "the unseen sectors were those of the earlier bundle"
    assert max(read_figures(tmp_path / "watch.prom", "unseen_ratio").values()) == 0.0


def test_the_newest_decision_of_a_month_names_its_bundle(tmp_path: Path) -> None:
    entries = []
    for number, (bundle_id, hours) in enumerate((("a", 0), ("c", 2), ("b", 5), ("c", 1))):
        at = DAY + dt.timedelta(hours=hours)
        record = audit_pb2.DecisionRecord.FromString(decision(f"C{number}", x=1.0).body)
        record.bundle_id = bundle_id * 64
        record.decide_time.CopyFrom(timestamp(at))
        entries.append(entry(record.SerializeToString(), time=at, customer=("DE", f"C{number}")))

    (rates,) = decision_rates(read(tmp_path, entries).cells)

    assert (rates.newest_bundle_id, rates.decisions) == ("b" * 64, 4)


def test_the_figures_are_readable_for_every_account_whatever_the_umask(bundle: Bundle, tmp_path: Path) -> None:
    window = WatchedWindow(DAY, LATER, LATER, cells={("DE", "2025-03", "b"): served_cell([(0.0, 1.0)] * 200)})
    document = watch_document(review_cells(window, {"b": bundle}, WatchOptions(12, 0.05, "")))
    modes, umask = [], os.umask(0o077)
    try:
        for _ in range(2):  # the second run replaces the file
            write_figures(tmp_path / "watch.prom", document, LATER)
            modes.append((tmp_path / "watch.prom").stat().st_mode & 0o777)
    finally:
        os.umask(umask)

    assert modes == [0o644, 0o644]
    assert [path.name for path in tmp_path.iterdir()] == ["watch.prom"]


def test_months_are_complete_and_their_ends_are_cut_to_shorter_months() -> None:
    assert add_months(dt.date(2024, 1, 31), 1) == dt.date(2024, 2, 29)
    assert add_months(dt.date(2025, 3, 31), -13) == dt.date(2024, 2, 29)
    start, end = last_complete_months(dt.datetime(2026, 3, 1, tzinfo=dt.UTC), 14)
    assert (start.date(), end.date()) == (dt.date(2025, 1, 1), dt.date(2026, 3, 1))
