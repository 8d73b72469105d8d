"""A copy of a market stays in step: whole at first, then by what changed, and it is never told a half-truth."""

import datetime as dt
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.app import now
from server.config import Settings
from server.edges.pages import CopyState, PageTokens
from server.load import load_file
from server.stores import changes
from server.stores.erasures import erase_risks
from server.stores.loading import Keep
from tests.conftest import Serving
from tests.server.asking import customer, refusal
from tests.server.running import served
from tests.server.runs import FIRST, SECOND, THIRD, ChurnFamily, plain_rows, write_run

OF_RUN = ("run_id", "as_of_time", "valid_until_time", "bundle_id", "rank")
Copy = dict[str, pb.ChurnRisk]


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Serve on a database of each kind."""
    return small_settings.model_copy(update={"database": database_url})


def request(**asked: Any) -> pb.ListChurnRiskChangesRequest:
    """Ask for a page of a sync."""
    return pb.ListChurnRiskChangesRequest(**{"market": "DE", "page_size": 7, **asked})


async def pages(serving: Serving, **asked: Any) -> AsyncIterator[pb.ListChurnRiskChangesResponse]:
    """Read a sync to its end."""
    while True:
        page = await serving.churn.ListChurnRiskChanges(request(**asked))
        yield page
        if page.WhichOneof("next") == "delta_token":
            return
        asked = {**asked, "page_token": page.next_page_token}
        asked.pop("delta_token", None)


async def synced(serving: Serving, copy: Copy, **asked: Any) -> str:
    """Bring a copy in step as the contract says; gives the delta token."""
    async for page in pages(serving, **asked):
        for risk in page.churn_risks:
            copy[risk.customer.customer_id] = risk
        for gone in page.removed_customers:
            copy.pop(gone.customer_id, None)
    for risk in copy.values():
        for name, value in (("run_id", page.run.run_id), ("bundle_id", page.run.bundle_id)):
            setattr(risk, name, value)
        risk.as_of_time.CopyFrom(page.run.as_of_time)
        risk.valid_until_time.CopyFrom(page.run.valid_until_time)
        risk.ClearField("rank")
    return page.delta_token


async def load(serving: Serving, churn: ChurnFamily, log_odds: dict[str, float | None], as_of: dt.datetime) -> None:
    """Load a run of these customers."""
    folder = churn.folder / f"runs-{random.getrandbits(60):x}"
    folder.mkdir()
    path = write_run(folder / "run.parquet", churn.model, plain_rows(churn.model, log_odds, as_of))
    load_file(serving.application.database, path, now())


def made(seed: int, count: int = 60) -> dict[str, float | None]:
    """Make customers: of any three, one changes with the seed, one comes and goes, one stays as it is."""
    chance = random.Random(seed)  # noqa: S311 - made data
    found: dict[str, float | None] = {}
    for number in range(count):
        if number % 3 == 0:
            found[f"C{number:03d}"] = chance.choice([None, -3.0, -1.0, 0.5, 3.0])
        elif number % 3 == 1 and chance.random() < 0.5:
            found[f"C{number:03d}"] = 1.0
        elif number % 3 == 2:
            found[f"C{number:03d}"] = -2.0
    return found


def erase(serving: Serving, customer_id: str, time: dt.datetime | None = None) -> int:
    """Erase a customer as the record does."""
    with serving.application.database.writing() as connection:
        return erase_risks(connection, "DE", customer_id, time or now())


async def test_a_page_has_a_next_page_token_or_a_delta_token_never_both(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    customers = made(1)
    await load(serving, churn_family, customers, FIRST)

    read = [page async for page in pages(serving)]

    assert [page.WhichOneof("next") for page in read] == [*["next_page_token"] * (len(read) - 1), "delta_token"]
    ids = [risk.customer.customer_id for page in read for risk in page.churn_risks]
    assert ids == sorted(customers)
    assert {page.run.run_id for page in read} == {read[0].churn_risks[0].run_id}


async def test_a_copy_that_follows_deltas_is_the_copy_that_a_full_sync_makes(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load(serving, churn_family, made(0), FIRST)
    token = await synced(serving, copy)
    for seed, as_of in enumerate((SECOND, THIRD, THIRD + dt.timedelta(days=31)), start=1):
        await load(serving, churn_family, made(seed), as_of)
        token = await synced(serving, copy, delta_token=token)
        fresh: Copy = {}
        await synced(serving, fresh)

        assert copy == fresh
        assert set(copy) == set(made(seed))


async def test_a_delta_names_only_who_differs_also_across_several_runs(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    first, copy = made(0), {}
    await load(serving, churn_family, first, FIRST)
    token = await synced(serving, copy)
    await load(serving, churn_family, {**first, "C002": 3.0, "C059": 3.0}, SECOND)
    third = {**first, "C005": 3.0, "NEW": None}
    del third["C008"]
    await load(serving, churn_family, third, THIRD)

    read = [page async for page in pages(serving, delta_token=token)]

    # C002 and C059 were CRITICAL in between, which the band before the present one remembers.
    changed = [risk.customer.customer_id for page in read for risk in page.churn_risks]
    assert changed == ["C002", "C005", "C059", "NEW"]
    assert [gone.customer_id for page in read for gone in page.removed_customers] == ["C008"]


async def test_nothing_new_is_an_empty_last_page(serving: Serving, churn_family: ChurnFamily) -> None:
    await load(serving, churn_family, made(0), FIRST)
    token = await synced(serving, {})

    page = await serving.churn.ListChurnRiskChanges(request(delta_token=token))

    assert not page.churn_risks
    assert not page.removed_customers
    assert page.WhichOneof("next") == "delta_token"


async def test_a_sync_stays_one_run_while_a_newer_one_is_loaded_which_the_next_delta_brings(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load(serving, churn_family, made(0), FIRST)
    runs, seen = set(), []
    async for page in pages(serving):
        runs.add(page.run.run_id)
        seen += [risk.customer.customer_id for risk in page.churn_risks]
        copy |= {risk.customer.customer_id: risk for risk in page.churn_risks}
        if len(seen) == 14:
            await load(serving, churn_family, made(1), SECOND)
    await synced(serving, copy, delta_token=page.delta_token)
    fresh: Copy = {}
    await synced(serving, fresh)

    assert len(runs) == 1
    assert seen == sorted(made(0))
    assert copy == fresh


async def test_a_page_may_be_short_before_the_end_and_nobody_is_missing(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    """A page looks at so many customers at most; the limit is lowered here as far as it goes."""
    copy: Copy = {}
    await load(serving, churn_family, made(0), FIRST)
    token = await synced(serving, copy)
    await load(serving, churn_family, made(3), SECOND)
    usual, changes.SCANNED_MAX = changes.SCANNED_MAX, 5
    try:
        read = [page async for page in pages(serving, delta_token=token)]
        await synced(serving, copy, delta_token=token)
    finally:
        changes.SCANNED_MAX = usual
    fresh: Copy = {}
    await synced(serving, fresh)

    assert any(not page.churn_risks and page.next_page_token for page in read)
    assert copy == fresh


async def test_an_erased_customer_is_gone_at_once_and_a_tombstone_follows(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load(serving, churn_family, made(0), FIRST)
    await load(serving, churn_family, made(0), SECOND)
    token = await synced(serving, copy)

    assert erase(serving, "C002") == 2
    told = await refusal(serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=customer("DE", "C002"))))
    await synced(serving, copy, delta_token=token)
    fresh: Copy = {}
    await synced(serving, fresh)

    assert told.reason == "CUSTOMER_UNKNOWN"
    assert copy == fresh
    assert "C002" not in copy


async def test_a_customer_who_is_erased_while_a_sync_runs_is_removed_by_the_next_delta(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load(serving, churn_family, made(0), FIRST)
    async for page in pages(serving):
        copy |= {risk.customer.customer_id: risk for risk in page.churn_risks}
        if len(copy) == 14:
            erase(serving, "C002")
            erase(serving, "C059")

    assert "C002" in copy
    await synced(serving, copy, delta_token=page.delta_token)
    assert not {"C002", "C059"} & set(copy)


async def test_a_run_does_not_bring_back_who_was_erased_after_its_cut_and_one_with_a_later_cut_may(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    copy: Copy = {}
    await load(serving, churn_family, made(0), FIRST)
    token = await synced(serving, copy)
    erase(serving, "C002", SECOND + dt.timedelta(days=1))
    await load(serving, churn_family, made(0), SECOND)
    token = await synced(serving, copy, delta_token=token)
    without = set(copy)
    await load(serving, churn_family, made(0), THIRD)
    await synced(serving, copy, delta_token=token)

    assert without == set(made(0)) - {"C002"}
    assert set(copy) == set(made(0))


async def test_a_token_that_is_not_of_this_sync_says_to_begin_anew(serving: Serving, churn_family: ChurnFamily) -> None:
    await load(serving, churn_family, made(0), FIRST)
    token = await synced(serving, {})
    page = (await serving.churn.ListChurnRiskChanges(request())).next_page_token
    listed = (await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", page_size=1))).next_page_token
    foreign = PageTokens(b"another database's key", 7, now).write(CopyState("DE", "", 1, 0))
    asked: list[dict[str, Any]] = [
        {"delta_token": page},
        {"page_token": token},
        {"page_token": listed},
        {"delta_token": foreign},
        {"delta_token": "nonsense"},
        {"delta_token": token, "market": "FR"},
        {"delta_token": token, "locale": "de"},
        {"page_token": page, "locale": "de"},
    ]
    for wrong in asked:
        told = await refusal(serving.churn.ListChurnRiskChanges(request(**wrong)))

        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED"), wrong
        assert "begin again" in told.message


async def test_a_token_too_old_says_to_begin_anew(small_settings: Settings, churn_family: ChurnFamily) -> None:
    async with served(small_settings) as serving:
        await load(serving, churn_family, made(0), FIRST)
        old = PageTokens(serving.application.database.key("page_tokens"), 7, lambda: now() - dt.timedelta(days=7.01))
        young = PageTokens(serving.application.database.key("page_tokens"), 7, lambda: now() - dt.timedelta(days=6.99))
        told = await refusal(
            serving.churn.ListChurnRiskChanges(request(delta_token=old.write(CopyState("DE", "", 1, 0))))
        )
        page = await serving.churn.ListChurnRiskChanges(request(delta_token=young.write(CopyState("DE", "", 1, 0))))

    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED")
    assert told.metadata == {"days": "7"}
    assert page.delta_token


async def test_runs_are_kept_while_they_are_new_or_tokens_may_ask_for_them_and_then_pruned_not_silently(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    await load(serving, churn_family, made(0), FIRST)
    token = await synced(serving, {})
    page = (await serving.churn.ListChurnRiskChanges(request())).next_page_token
    keep, start = Keep(2, 7), now()
    told = []
    for day, as_of in ((1, SECOND), (2, THIRD), (9, THIRD + dt.timedelta(days=1))):
        path = churn_family.folder / f"prune-{day}-{random.getrandbits(60):x}.parquet"
        write_run(path, churn_family.model, plain_rows(churn_family.model, made(day), as_of))
        load_file(serving.application.database, path, start + dt.timedelta(days=day), keep)
        try:
            await serving.churn.ListChurnRiskChanges(request(page_token=page))
            told.append("kept")
        except grpc.aio.AioRpcError as error:
            told.append(error.details() or "")
    refused = await refusal(serving.churn.ListChurnRiskChanges(request(delta_token=token)))
    with serving.application.database.reading() as connection:
        left = [
            connection.exec_driver_sql(f"SELECT COUNT(DISTINCT run_number) FROM {table}").scalar()  # noqa: S608
            for table in ("runs", "risks", "risk_chunks")
        ]

    assert told[:2] == ["kept", "kept"]
    assert "begin again" in told[2]
    assert refused.reason == "RESYNC_REQUIRED"
    assert left == [3, 3, 3]


async def test_a_market_without_a_run_says_so_and_a_token_that_is_too_long_is_told_how_long(serving: Serving) -> None:
    told = await refusal(serving.churn.ListChurnRiskChanges(request(market="IT")))
    long = await refusal(serving.churn.ListChurnRiskChanges(request(delta_token="A" * 1025)))

    assert told.reason == "NO_RUN"
    assert (long.reason, list(long.problems)) == ("REQUEST_INVALID", ["delta_token"])


async def test_every_thing_that_a_crm_stores_of_a_customer_is_compared(
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
    load_file(serving.application.database, write_run(tmp_path / "0.parquet", churn_family.model, rows), now())
    token = await synced(serving, {})
    for number, (column, value) in enumerate(changes_of.items(), start=1):
        rows = rows.assign(as_of=FIRST + dt.timedelta(days=number))
        rows[column] = [value, rows[column][1]]
        path = write_run(tmp_path / f"{number}.parquet", churn_family.model, rows)
        load_file(serving.application.database, path, now(), Keep(20, 7))

        page = await serving.churn.ListChurnRiskChanges(request(delta_token=token))

        assert [risk.customer.customer_id for risk in page.churn_risks] == ["A"], column
        assert page.WhichOneof("next") == "delta_token"
        token = page.delta_token
