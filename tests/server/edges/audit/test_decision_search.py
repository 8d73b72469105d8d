"""Lists and samples of decisions, on SQLite and on a real PostgreSQL."""

import datetime as dt
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from grounds.audit.v1 import sample_pb2 as pb
from grounds.credit.v1 import credit_pb2
from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.record_log.decision_index import DecisionCursor, DecisionIndex, DecisionQuery
from server.stores.record_log.log import RecordLog
from server.stores.record_log.sample_worker import draw_sample
from server.stores.record_log.sampling import SampleDrawer, SampleQuery, Strata
from tests.conftest import START_RECORDS, Serving
from tests.server.audits import PURPOSE, read_readings, read_row, record_log, score_customer
from tests.server.query_plans import plans, sent_statements
from tests.server.record_logs import NOW, entry, open_test_log
from tests.server.requests import call_error

COUNT = 60
MARKETS, DECISIONS, GRADES = ("DE", "FR", "TW"), ("APPROVE", "DECLINE", "NOT_SCORABLE"), ("A", "B+", "")
MINUTE = dt.timedelta(minutes=1)


def new_id(number: int) -> str:
    """Return a new UUID."""
    return str(uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()))


def labels(number: int) -> dict[str, str]:
    """Return the labels of a decision."""
    found = {
        "market": MARKETS[number % 3],
        "decision": DECISIONS[number // 3 % 3],
        "bundle": str(number % 2) * 64,
        "grade": GRADES[number // 3 % 3],
    }
    return {name: value for name, value in found.items() if value}


def append_decisions(log: RecordLog, numbers: range) -> None:
    """Append decisions and records of a different kind between them; pairs of decisions have equal times."""
    entries = []
    for number in numbers:
        time = NOW + number // 2 * MINUTE
        caller = "crm" if number % 5 == 0 else "local"
        entries.append(entry(record_id=new_id(number), time=time, labels=labels(number), caller=caller))
        if number % 7 == 0:
            entries.append(entry(kind="EVIDENCE_READING", time=time, customer=None, labels={}))
    log.append(entries)


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log with decisions."""
    with open_test_log(database_url, tmp_path) as found:
        append_decisions(found, range(COUNT))
        yield found


def matching_ids(condition: DecisionQuery, log: RecordLog, size: int) -> list[str]:
    """Read all pages, and return the ids of the decisions."""
    listed, found, after = DecisionIndex(log.database), [], None
    while rows := listed.read_page(condition, after, size):
        found += [row.record_id for row in rows]
        after = DecisionCursor(rows[-1].time_us, rows[-1].record_index)
    return found


CONDITIONS = (
    (DecisionQuery(), lambda _: True),
    (DecisionQuery(market="FR"), lambda n: n % 3 == 1),
    (DecisionQuery(decision="DECLINE", market="DE"), lambda n: n // 3 % 3 == 1 and n % 3 == 0),
    (DecisionQuery(bundle_id="1" * 64), lambda n: n % 2 == 1),
    (DecisionQuery(grade="B+"), lambda n: n // 3 % 3 == 1),
    (DecisionQuery(caller="crm"), lambda n: n % 5 == 0),
    (DecisionQuery(start=NOW + 5 * MINUTE, end=NOW + 9 * MINUTE), lambda n: 5 <= n // 2 < 9),
    (DecisionQuery(market="XX"), lambda _: False),
)


def test_pages_list_every_matching_decision_once_with_the_newest_first(log: RecordLog) -> None:
    for condition, holds in CONDITIONS:
        wanted = [new_id(number) for number in reversed(range(COUNT)) if holds(number)]
        for size in (1, 7, 100):
            assert matching_ids(condition, log, size) == wanted


def sample_query(tree_size: int, **changes: Any) -> SampleQuery:
    """Return a query for 5 decisions of each stratum."""
    fields: dict[str, Any] = {
        "decisions": DecisionQuery(),
        "tree_size": tree_size,
        "keys": (),
        "seed": "tulip",
        "size": 5,
    } | changes
    return SampleQuery(**fields)


def draw(log: RecordLog, tree_size: int, **changes: object) -> Strata:
    """Draw 5 decisions of each stratum."""
    return draw_sample(log.database, sample_query(tree_size, **changes))


def first_by_digest(numbers: list[int], seed: str, size: int) -> list[str]:
    """Return the expected sample, computed by sorting all decisions."""
    found = sorted((new_id(n) for n in numbers), key=lambda name: hashlib.sha256(f"{seed}{name}".encode()).digest())
    return found[:size]


def log_size(log: RecordLog) -> int:
    """Return the number of records of the log."""
    return log.last_frontier.size


def test_a_sample_has_the_lowest_sha_256_digests_of_seed_and_id(log: RecordLog) -> None:
    for seed in ("tulip", "Straße 7", "x" * 128):
        found = draw(log, log_size(log), seed=seed)

        assert found == {(): (COUNT, first_by_digest(list(range(COUNT)), seed, 5))}
    assert draw(log, log_size(log), size=1000)[()][1] == first_by_digest(list(range(COUNT)), "tulip", COUNT)


def test_strata_are_drawn_independently_and_add_up_to_the_population(log: RecordLog) -> None:
    found = draw(log, log_size(log), keys=("market", "decision", "grade"), size=2)

    groups: dict[tuple[str, ...], list[int]] = {}
    for n in range(COUNT):
        groups.setdefault((MARKETS[n % 3], DECISIONS[n // 3 % 3], GRADES[n // 3 % 3]), []).append(n)
    assert found == {key: (len(of), first_by_digest(of, "tulip", 2)) for key, of in sorted(groups.items())}
    assert sum(population for population, _ in found.values()) == COUNT


def test_the_standby_worker_draws_the_same_sample(log: RecordLog) -> None:
    fields = {
        "keys": ("market", "grade"),
        "size": 3,
        "decisions": DecisionQuery(start=NOW + MINUTE, bundle_id="1" * 64),
    }

    with closing(SampleDrawer(log.database)) as samples:
        found = samples.draw(sample_query(log_size(log), **fields))

    assert found == draw(log, log_size(log), **fields) != {}


def test_a_failure_of_the_standby_worker_raises_store_unavailable() -> None:
    nowhere = Database("postgresql+psycopg://somebody:secret@127.0.0.1:1/nothing")

    with closing(SampleDrawer(nowhere)) as samples, pytest.raises(StoreUnavailable) as error:
        samples.draw(sample_query(5))

    assert "secret" not in str(error.value)


def test_a_filter_defines_the_population(log: RecordLog) -> None:
    for condition, holds in CONDITIONS[:-1]:
        of = [number for number in range(COUNT) if holds(number)]
        assert draw(log, log_size(log), decisions=condition) == {(): (len(of), first_by_digest(of, "tulip", 5))}
    assert draw(log, log_size(log), decisions=CONDITIONS[-1][0]) == {}


def test_later_records_do_not_change_a_sample_of_an_older_tree(log: RecordLog) -> None:
    size = log_size(log)
    before = draw(log, size, keys=("market",))

    append_decisions(log, range(COUNT, 3 * COUNT))

    assert draw(log, size, keys=("market",)) == before
    assert draw(log, log_size(log), keys=("market",)) != before
    assert draw(log, 0) == {}


def test_a_sample_is_the_same_on_both_databases(tmp_path: Path, postgres: object) -> None:
    """Other tests compare each database with the expected sample; this test compares the databases with each other."""
    found = []
    url = postgres.url.set(database="postgres")  # type: ignore[attr-defined]
    with postgres.connect() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("CREATE DATABASE samples")
    for number, place in enumerate(
        (f"sqlite:///{tmp_path / 'log.db'}", url.set(database="samples").render_as_string(hide_password=False))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with open_test_log(place, folder) as log:
            append_decisions(log, range(200))
            found.append(draw(log, 150, keys=("market", "decision"), size=9))

    assert found[0] == found[1]
    assert len(found[0]) == 9


def test_lists_read_only_the_index(log: RecordLog) -> None:
    """A table row is a hundred times as long as an index entry, so reading rows would take minutes."""
    if log.database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plan depends on its statistics")
    with sent_statements(log.database) as statements:
        DecisionIndex(log.database).read_page(
            DecisionQuery(market="DE", caller="crm", grade="A"), DecisionCursor(2**60, 5), 10
        )

    (steps,) = [steps for statement, steps in plans(log.database, statements).items() if "record_id" in statement]
    assert "COVERING INDEX ix_records_listed (kind=? AND time_us" in str(steps)
    assert "ORDER BY" not in str(steps), "the index already has the order of the list"


def test_pages_about_a_customer_list_the_decisions_about_this_customer_only(log: RecordLog) -> None:
    made = [entry(customer=("DE", f"C{number % 3}"), time=NOW + number % 4 * MINUTE) for number in range(20)]
    log.append([*made, entry(kind="CREDIT_OUTCOME", customer=("DE", "C2"))])
    of_customer = DecisionQuery(market="DE", customer_tag=log.customer_tag("DE", "C2"))

    for size in (1, 4, 100):
        newest = sorted(enumerate(made), key=lambda each: (each[1].time, each[0]), reverse=True)
        wanted = [each.record_id for _, each in newest if each.customer == ("DE", "C2")]
        assert matching_ids(of_customer, log, size) == wanted
    assert len(wanted) == 6
    assert matching_ids(DecisionQuery(market="FR", customer_tag=log.customer_tag("DE", "C2")), log, 5) == []


def test_the_decisions_about_a_customer_are_found_by_the_tag_of_the_customer(log: RecordLog) -> None:
    if log.database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plan depends on its statistics")
    with sent_statements(log.database) as statements:
        DecisionIndex(log.database).read_page(
            DecisionQuery(market="DE", customer_tag="5" * 64), DecisionCursor(2**60, 5), 10
        )

    (steps,) = [steps for statement, steps in plans(log.database, statements).items() if "record_id" in statement]
    assert "INDEX ix_records_customer_tag (customer_tag=? AND kind=?)" in str(steps)


async def test_an_auditor_lists_the_decisions_about_a_customer_and_each_page_is_a_recorded_reading(
    serving: Serving,
) -> None:
    made = [await score_customer(serving, number) for number in (0, 2, 0, 1, 4, 0)]
    wanted = [one for one in reversed(made) if one.customer.customer_id == "C00000"]
    size = record_log(serving).last_frontier.size
    request = pb.ListDecisionsRequest(
        filter=pb.DecisionFilter(market="DE"), customer_id="C00000", purpose=PURPOSE, page_size=1
    )

    listed, pages = [], []
    while True:
        pages.append(await serving.audit.ListDecisions(request))
        listed += [one.decision_id for one in pages[-1].decisions]
        request.page_token = pages[-1].next_page_token
        if not request.page_token:
            break

    assert listed == [one.record_ref.decision_id for one in wanted]
    assert len(listed) == 3
    readings = read_readings(serving)
    assert [(each.method, each.purpose, each.market, each.caller) for each in readings] == [
        ("ListDecisions", PURPOSE, "DE", "local")
    ] * len(pages)
    assert {(each.decision_id, each.run_id) for each in readings} == {("", "")}
    assert [page.reading.index for page in pages] == [size + number for number in range(len(pages))]
    tags = {read_row(serving, page.reading.record_id).customer_tag for page in pages}
    assert tags == {record_log(serving).customer_tag("DE", "C00000")}


async def test_a_list_about_an_unknown_customer_is_empty_and_the_other_conditions_apply_too(serving: Serving) -> None:
    made = await score_customer(serving, 1)
    customer = {"customer_id": "C00001", "purpose": PURPOSE}
    market, other = made.customer.market, credit_pb2.DECISION_NOT_SCORABLE
    conditions: tuple[dict[str, Any], ...] = (
        {"filter": pb.DecisionFilter(market=market), **customer},
        {"filter": pb.DecisionFilter(market=market, decision=other), **customer},
        {"filter": pb.DecisionFilter(market=market), **customer, "customer_id": "nobody"},
    )

    pages = [await serving.audit.ListDecisions(pb.ListDecisionsRequest(**fields)) for fields in conditions]

    assert [len(page.decisions) for page in pages] == [1, 0, 0]
    assert all(page.HasField("reading") for page in pages)
    assert not (await serving.audit.ListDecisions(pb.ListDecisionsRequest())).HasField("reading")


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"customer_id": "C1", "purpose": "Review"}, "customer_id needs filter.market and purpose"),
        ({"customer_id": "C1", "filter": {"market": "DE"}}, "customer_id needs filter.market and purpose"),
        ({"purpose": "Review"}, "purpose is valid only with customer_id"),
        ({"customer_id": "C 1", "purpose": "Review", "filter": {"market": "DE"}}, "customer_id"),
        ({"customer_id": "C1", "purpose": " ", "filter": {"market": "DE"}}, "purpose"),
    ],
)
async def test_a_customer_without_market_or_purpose_is_rejected_and_no_reading_is_recorded(
    serving: Serving, fields: dict[str, Any], rule: str
) -> None:
    size = record_log(serving).last_frontier.size

    error = await call_error(serving.audit.ListDecisions(pb.ListDecisionsRequest(**fields)))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert rule in str(error.problems)
    assert record_log(serving).last_frontier.size == size


async def test_a_page_token_of_one_customer_is_invalid_for_another(serving: Serving) -> None:
    for _ in range(2):
        made = await score_customer(serving, 1)
    market = pb.DecisionFilter(market=made.customer.market)
    fields: dict[str, Any] = {"filter": market, "purpose": PURPOSE, "page_size": 1}
    page = await serving.audit.ListDecisions(pb.ListDecisionsRequest(customer_id="C00001", **fields))
    assert page.next_page_token
    size = record_log(serving).last_frontier.size

    request = pb.ListDecisionsRequest(customer_id="C00002", page_token=page.next_page_token, **fields)
    error = await call_error(serving.audit.ListDecisions(request))

    assert error.reason == "PAGE_TOKEN_INVALID"
    assert record_log(serving).last_frontier.size == size


async def test_a_page_token_is_valid_only_with_the_filter_of_its_list(serving: Serving) -> None:
    made = [await score_customer(serving, number) for number in range(9)]
    of_germany = pb.DecisionFilter(market="DE")

    first = await serving.audit.ListDecisions(pb.ListDecisionsRequest(filter=of_germany, page_size=3))
    token = first.next_page_token
    second = await serving.audit.ListDecisions(
        pb.ListDecisionsRequest(filter=of_germany, page_size=1000, page_token=token)
    )
    errors = [
        await call_error(serving.audit.ListDecisions(pb.ListDecisionsRequest(**fields)))
        for fields in (
            {"page_token": token},
            {"filter": of_germany, "page_token": token[:-4] + "AAAA"},
            {"page_token": "?"},
        )
    ]

    listed = [*first.decisions, *second.decisions]
    wanted = [one for one in reversed(made) if one.customer.market == "DE"]
    assert [one.decision_id for one in listed] == [one.record_ref.decision_id for one in wanted]
    assert second.next_page_token == ""
    for one, decision in zip(listed, wanted, strict=True):
        output = decision.assessment.model_output
        assert (one.decision, one.grade, one.bundle_id) == (decision.decision, output.grade, output.bundle_id)
        assert one.decide_time == decision.record_ref.decide_time
        assert (one.market, one.caller) == ("DE", "local")
    assert {(each.code, each.reason) for each in errors} == {(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")}


async def test_a_sample_of_a_tree_size_is_returned_with_the_data_to_reproduce_it(serving: Serving) -> None:
    made = [await score_customer(serving, number) for number in range(8)]
    request = pb.SampleDecisionsRequest(seed="42", size=2, stratify_by=[pb.STRATUM_KEY_DECISION, pb.STRATUM_KEY_MARKET])

    first = await serving.audit.SampleDecisions(request)
    await score_customer(serving, 8)
    request.tree_size = first.tree_size
    again = await serving.audit.SampleDecisions(request)
    request.tree_size = 1000
    error = await call_error(serving.audit.SampleDecisions(request))

    counted = Counter((one.customer.market, one.decision) for one in made)
    assert (first.tree_size, first.population_count) == (START_RECORDS + 8, 8)
    assert {(s.market, s.decision): s.population_count for s in first.strata} == counted
    of = {one.record_ref.decision_id: one for one in made}
    for stratum in first.strata:
        assert {(of[name].customer.market, of[name].decision) for name in stratum.decision_ids} == {
            (stratum.market, stratum.decision)
        }
        assert len(stratum.decision_ids) == min(2, stratum.population_count)
    assert list(again.strata) == list(first.strata)
    assert again.population_count == 8
    assert error.reason == "TREE_SIZE_UNKNOWN"
    assert json.loads(error.metadata["size"]) == START_RECORDS + 9
    assert credit_pb2.DECISION_UNSPECIFIED not in {stratum.decision for stratum in first.strata}
