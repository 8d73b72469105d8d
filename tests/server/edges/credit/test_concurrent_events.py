"""Concurrent overrides and outcomes of one decision: each is checked against all events recorded before it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

import grpc
import pytest

from grounds.credit.v1 import credit_pb2 as pb
from server.config import Settings
from server.stores.database import Database
from tests.conftest import LOAD_TIME, Serving
from tests.server.events import outcome_request, override_request, read_decision, score_with_outcome
from tests.server.loading import load_file
from tests.server.servers import serve
from tests.small import SmallFamily

CHECKED_SECONDS = 0.7  # long enough for the checks of all calls to finish


@pytest.fixture
async def fleet(database_url: str, small: SmallFamily, small_settings: Settings) -> AsyncIterator[list[Serving]]:
    """Run two servers on one database, for each kind of database."""
    database = Database(database_url)
    database.migrate()
    load_file(database, small.features, LOAD_TIME)
    database.close()
    settings = small_settings.model_copy(update={"database": database_url})
    async with serve(settings) as first, serve(settings) as second:
        yield [first, second]


async def run_concurrently(fleet: Sequence[Serving], calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """Lock the head of the log until all calls have been checked; return their answers and errors."""
    log = fleet[0].application.log
    assert log is not None
    with log.database.writing() as connection:
        log.lock_head(connection)
        under_way = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(CHECKED_SECONDS)
        assert not any(call.done() for call in under_way)
    return await asyncio.gather(*under_way, return_exceptions=True)


@pytest.mark.parametrize("servers", [(0, 0, 0), (0, 1, 1)], ids=["one server", "two servers"])
async def test_only_one_of_concurrent_corrections_is_recorded(fleet: list[Serving], servers: Sequence[int]) -> None:
    decision = await score_with_outcome(fleet[0], pb.DECISION_APPROVE)
    first = (await fleet[0].credit.RecordOutcome(outcome_request(decision))).outcome
    requests = [outcome_request(decision, corrects_outcome_id=first.outcome_id) for _ in servers]

    answers = await run_concurrently(
        fleet, [fleet[server].credit.RecordOutcome(each) for server, each in zip(servers, requests, strict=True)]
    )

    (answered,) = [answer.outcome for answer in answers if isinstance(answer, pb.RecordOutcomeResponse)]
    refused = [answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert refused == [grpc.StatusCode.INVALID_ARGUMENT] * 2
    assert list((await read_decision(fleet[1], decision)).outcomes) == [first, answered]


@pytest.mark.parametrize("servers", [(0, 0), (0, 1)], ids=["one server", "two servers"])
async def test_the_second_of_concurrent_overrides_is_checked_against_the_first(
    fleet: list[Serving], servers: Sequence[int]
) -> None:
    decision = await score_with_outcome(fleet[0], pb.DECISION_APPROVE)

    answers = await run_concurrently(
        fleet, [fleet[server].credit.RecordOverride(override_request(decision)) for server in servers]
    )

    (answered,) = [answer.override for answer in answers if isinstance(answer, pb.RecordOverrideResponse)]
    (refused,) = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert "changes nothing" in (refused.details() or "")
    assert list((await read_decision(fleet[1], decision)).overrides) == [answered]


async def test_concurrent_outcomes_without_a_conflict_are_all_recorded(fleet: list[Serving]) -> None:
    """Of four concurrent calls, two are the same request, which must be recorded once."""
    decision = await score_with_outcome(fleet[0], pb.DECISION_APPROVE)
    requests = [outcome_request(decision, days_past_due=pb.DaysPastDue(days=days)) for days in (1, 31, 61, 91)]
    requests[1].request_id = requests[0].request_id = str(uuid.uuid4())
    requests[1].days_past_due.days = requests[0].days_past_due.days

    answers = await run_concurrently(
        fleet, [fleet[index % 2].credit.RecordOutcome(each) for index, each in enumerate(requests)]
    )

    days = [answer.outcome.days_past_due.days for answer in answers]
    recorded = [each.days_past_due.days for each in (await read_decision(fleet[0], decision)).outcomes]
    assert days == [1, 1, 61, 91]
    assert sorted(recorded) == [1, 61, 91]
    assert answers[0] == answers[1]
