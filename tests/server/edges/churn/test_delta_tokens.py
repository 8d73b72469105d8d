"""A delta token that is expired, foreign, or from a removed run is rejected and requires a full synchronization."""

import datetime as dt
import random
from typing import Any

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.edges.page_tokens import CopyState, PageTokens
from server.stores.clock import utc_now
from server.stores.runs.pruning import RunRetention
from tests.conftest import Serving
from tests.server.churn_copies import load_customers, random_customers, request, synchronize
from tests.server.churn_runs import FIRST, SECOND, THIRD, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error
from tests.server.servers import serve


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


async def test_a_foreign_token_requires_a_resync(serving: Serving, churn_family: ChurnFamily) -> None:
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    token = await synchronize(serving, {})
    page = (await serving.churn.ListChurnRiskChanges(request())).next_page_token
    listed = (await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", page_size=1))).next_page_token
    foreign = PageTokens(lambda: [b"another database's key"], 7, utc_now).write(
        CopyState("DE", "", 1, 0, withheld=True)
    )
    invalid_fields: list[dict[str, Any]] = [
        {"delta_token": page},
        {"page_token": token},
        {"page_token": listed},
        {"delta_token": foreign},
        {"delta_token": "nonsense"},
        {"delta_token": token, "market": "FR"},
        {"delta_token": token, "locale": "de"},
        {"page_token": page, "locale": "de"},
    ]
    for wrong in invalid_fields:
        error = await call_error(serving.churn.ListChurnRiskChanges(request(**wrong)))

        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED"), wrong
        assert "begin again" in error.message


async def test_an_old_token_requires_a_resync(small_settings: Settings, churn_family: ChurnFamily) -> None:
    async with serve(small_settings) as serving:
        await load_customers(serving, churn_family, random_customers(0), FIRST)
        old = PageTokens(
            lambda: [serving.application.database.ensure_key("page_tokens")],
            7,
            lambda: utc_now() - dt.timedelta(days=7.01),
        )
        young = PageTokens(
            lambda: [serving.application.database.ensure_key("page_tokens")],
            7,
            lambda: utc_now() - dt.timedelta(days=6.99),
        )
        error = await call_error(
            serving.churn.ListChurnRiskChanges(request(delta_token=old.write(CopyState("DE", "", 1, 0, withheld=True))))
        )
        page = await serving.churn.ListChurnRiskChanges(
            request(delta_token=young.write(CopyState("DE", "", 1, 0, withheld=True)))
        )

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED")
    assert error.metadata == {"days": "7"}
    assert page.delta_token


async def test_runs_are_kept_while_tokens_may_need_them_and_then_pruned_with_a_message(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    await load_customers(serving, churn_family, random_customers(0), FIRST)
    token = await synchronize(serving, {})
    page = (await serving.churn.ListChurnRiskChanges(request())).next_page_token
    keep, start = RunRetention(2, 7), utc_now()
    answers = []
    for day, as_of in ((1, SECOND), (2, THIRD), (9, THIRD + dt.timedelta(days=1))):
        path = churn_family.folder / f"prune-{day}-{random.getrandbits(60):x}.parquet"
        write_run(path, churn_family.model, plain_rows(churn_family.model, random_customers(day), as_of))
        load_file(serving.application.database, path, start + dt.timedelta(days=day), keep)
        try:
            await serving.churn.ListChurnRiskChanges(request(page_token=page))
            answers.append("kept")
        except grpc.aio.AioRpcError as error:
            answers.append(error.details() or "")
    refused = await call_error(serving.churn.ListChurnRiskChanges(request(delta_token=token)))
    with serving.application.database.reading() as connection:
        left = [
            connection.exec_driver_sql(f"SELECT COUNT(DISTINCT run_number) FROM {table}").scalar()
            for table in ("runs", "risks", "risk_chunks")
        ]

    assert answers[:2] == ["kept", "kept"]
    assert "begin again" in answers[2]
    assert refused.reason == "RESYNC_REQUIRED"
    assert left == [3, 3, 3]


async def test_a_market_without_a_run_and_a_token_that_is_too_long_are_rejected(serving: Serving) -> None:
    error = await call_error(serving.churn.ListChurnRiskChanges(request(market="IT")))
    long = await call_error(serving.churn.ListChurnRiskChanges(request(delta_token="A" * 1025)))

    assert error.reason == "NO_RUN"
    assert (long.reason, list(long.problems)) == ("REQUEST_INVALID", ["delta_token"])
