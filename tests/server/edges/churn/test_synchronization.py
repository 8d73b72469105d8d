"""A copy that is synchronized fully once, and by deltas afterwards, equals the newest run; every page reads one run."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.stores.clock import utc_now
from server.stores.runs import changes
from server.stores.runs.pruning import RunRetention
from tests.conftest import Serving
from tests.server.churn_copies import Copy, erase, load_customers, pages, random_customers, request, synchronize
from tests.server.churn_runs import FIRST, SECOND, THIRD, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error, customer


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


async def test_a_page_has_either_a_next_page_token_or_a_delta_token(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    customers = random_customers(1)
    await load_customers(serving, churn_family, customers, FIRST)

    read = [page async for page in pages(serving)]

    assert [page.WhichOneof("next") for page in read] == [*["next_page_token"] * (len(read) - 1), "delta_token"]
    ids = [risk.customer.customer_id for page in read for risk in page.churn_risks]
    assert ids == sorted(customers)
    assert {page.run.run_id for page in read} == {read[0].churn_risks[0].run_id}


async def test_a_copy_that_follows_deltas_equals_a_full_synchronization(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    token = await synchronize(serving, copy)
    for seed, as_of in enumerate((SECOND, THIRD, THIRD + dt.timedelta(days=31)), start=1):
        await load_customers(serving, churn_family, random_customers(seed), as_of)
        token = await synchronize(serving, copy, delta_token=token)
        fresh: Copy = {}
        await synchronize(serving, fresh)

        assert copy == fresh
        assert set(copy) == set(random_customers(seed))


async def test_a_delta_contains_only_changed_customers_even_across_several_runs(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    first, copy = random_customers(0), {}
    await load_customers(serving, churn_family, first, FIRST)
    token = await synchronize(serving, copy)
    await load_customers(serving, churn_family, {**first, "C002": 3.0, "C059": 3.0}, SECOND)
    third = {**first, "C005": 3.0, "NEW": None}
    del third["C008"]
    await load_customers(serving, churn_family, third, THIRD)

    read = [page async for page in pages(serving, delta_token=token)]

    # C002 and C059 were CRITICAL in between, which is stored as their previous band.
    changed = [risk.customer.customer_id for page in read for risk in page.churn_risks]
    assert changed == ["C002", "C005", "C059", "NEW"]
    assert [gone.customer_id for page in read for gone in page.removed_customers] == ["C008"]


async def test_without_changes_a_delta_is_an_empty_last_page(serving: Serving, churn_family: ChurnFamily) -> None:
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    token = await synchronize(serving, {})

    page = await serving.churn.ListChurnRiskChanges(request(delta_token=token))

    assert not page.churn_risks
    assert not page.removed_customers
    assert page.WhichOneof("next") == "delta_token"


async def test_a_synchronization_reads_one_run_while_a_newer_run_is_loaded(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    runs, seen = set(), []
    async for page in pages(serving):
        runs.add(page.run.run_id)
        seen += [risk.customer.customer_id for risk in page.churn_risks]
        copy |= {risk.customer.customer_id: risk for risk in page.churn_risks}
        if len(seen) == 14:
            await load_customers(serving, churn_family, random_customers(1), SECOND)
    await synchronize(serving, copy, delta_token=page.delta_token)
    fresh: Copy = {}
    await synchronize(serving, fresh)

    assert len(runs) == 1
    assert seen == sorted(random_customers(0))
    assert copy == fresh


async def test_a_page_may_be_short_before_the_end_without_skipping_a_customer(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    """A page compares a limited number of customers; this test sets the smallest limit."""
    copy: Copy = {}
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    token = await synchronize(serving, copy)
    await load_customers(serving, churn_family, random_customers(3), SECOND)
    usual, changes.SCANNED_MAX = changes.SCANNED_MAX, 5
    try:
        read = [page async for page in pages(serving, delta_token=token)]
        await synchronize(serving, copy, delta_token=token)
    finally:
        changes.SCANNED_MAX = usual
    fresh: Copy = {}
    await synchronize(serving, fresh)

    assert any(not page.churn_risks and page.next_page_token for page in read)
    assert copy == fresh


async def test_an_erased_customer_disappears_immediately_and_leaves_a_tombstone(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    await load_customers(serving, churn_family, random_customers(0), SECOND)
    token = await synchronize(serving, copy)

    assert erase(serving, "C002") == 2
    error = await call_error(serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=customer("DE", "C002"))))
    await synchronize(serving, copy, delta_token=token)
    fresh: Copy = {}
    await synchronize(serving, fresh)

    assert error.reason == "CUSTOMER_UNKNOWN"
    assert copy == fresh
    assert "C002" not in copy


async def test_a_customer_erased_during_a_synchronization_is_removed_by_the_next_delta(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    async for page in pages(serving):
        copy |= {risk.customer.customer_id: risk for risk in page.churn_risks}
        if len(copy) == 14:
            erase(serving, "C002")
            erase(serving, "C059")

    assert "C002" in copy
    await synchronize(serving, copy, delta_token=page.delta_token)
    assert not {"C002", "C059"} & set(copy)


async def test_an_erased_customer_returns_only_with_a_run_of_a_later_as_of_time(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    token = await synchronize(serving, copy)
    erase(serving, "C002")
    await load_customers(serving, churn_family, random_customers(0), SECOND)
    token = await synchronize(serving, copy, delta_token=token)
    without = set(copy)
    await load_customers(serving, churn_family, random_customers(0), utc_now() + dt.timedelta(days=1))
    await synchronize(serving, copy, delta_token=token)

    assert without == set(random_customers(0)) - {"C002"}
    assert set(copy) == set(random_customers(0))


async def test_every_field_that_a_copy_stores_is_compared(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    rows = plain_rows(churn_family.model, {"A": 0.5, "B": 0.5}, FIRST)
    changes_of: dict[str, Any] = {
        "value_at_risk_minor": 7,
        "expected_spend_minor": 7,
        "decline_pd": 0.25,
        "hold_out": True,
        "suppressions": ["DO_NOT_CONTACT"],
        "drivers": '[{"code": "A", "log_odds": 1.0, "features": [], "texts": {"en": "late"}}]',
    }
    load_file(serving.application.database, write_run(tmp_path / "0.parquet", churn_family.model, rows), utc_now())
    token = await synchronize(serving, {})
    for number, (column, value) in enumerate(changes_of.items(), start=1):
        rows = rows.assign(as_of=FIRST + dt.timedelta(days=number))
        rows[column] = [value, rows[column][1]]
        path = write_run(tmp_path / f"{number}.parquet", churn_family.model, rows)
        load_file(serving.application.database, path, utc_now(), RunRetention(20, 7))

        page = await serving.churn.ListChurnRiskChanges(request(delta_token=token))

        assert [risk.customer.customer_id for risk in page.churn_risks] == ["A"], column
        assert page.WhichOneof("next") == "delta_token"
        token = page.delta_token
