"""BatchScoreCredit over a real channel: each request has its own record, and its own answer or its own error."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from grounds.credit.v1 import credit_pb2 as pb
from models.errors import AdditivityError
from models.model import Model
from server.config import Settings
from server.registry.model_registry import ServingModels
from server.stores.database import Database
from tests.conftest import LOAD_TIME, Serving
from tests.server.audits import MODES, replay
from tests.server.loading import load_file
from tests.server.requests import (
    UNKNOWN_CUSTOMER,
    call_error,
    customer,
    euros,
    field,
    numbers,
    raw_method,
    score_request,
)
from tests.server.servers import record_count, serve, wait_until
from tests.small import SmallFamily

METHOD = "/grounds.credit.v1.CreditService/BatchScoreCredit"
INVALID = "INVALID_ARGUMENT"


@pytest.fixture
async def store(database_url: str, small: SmallFamily, small_settings: Settings) -> AsyncIterator[Serving]:
    """Serve from each kind of database."""
    database = Database(database_url)
    database.migrate()
    load_file(database, small.features, LOAD_TIME)
    database.close()
    async with serve(small_settings.model_copy(update={"database": database_url})) as serving:
        yield serving


async def send(serving: Serving, elements: Sequence[pb.ScoreCreditRequest | bytes]) -> list[pb.BatchScoreCreditResult]:
    """Send a batch; return the results, one for each element and in the same order."""
    method: Any = serving.channel.unary_stream(METHOD)
    call = method(b"".join(field(1, each) for each in elements))
    results = [result async for part in call for result in pb.BatchScoreCreditResponse.FromString(part).results]
    assert [result.index for result in results] == list(range(len(elements)))
    return results


def reason(result: pb.BatchScoreCreditResult) -> tuple[str, str]:
    """Return code and reason of an error; two empty texts for a decision."""
    if result.HasField("credit_decision"):
        return "", ""
    info, code = error_details_pb2.ErrorInfo(), result.error.code
    assert result.error.details[0].Unpack(info)
    assert info.domain == "grounds"
    return next(status.name for status in grpc.StatusCode if status.value[0] == code), info.reason


def questions(count: int, **fields: Any) -> list[pb.ScoreCreditRequest]:
    """Return requests for different customers of the small family in DE, who have the even numbers."""
    return [score_request(customer=customer("DE", f"C{2 * number:05}"), **fields) for number in range(count)]


def without_identity(decision: pb.CreditDecision) -> bytes:
    """Return a decision without what differs between two decisions about the same question."""
    copy = pb.CreditDecision.FromString(decision.SerializeToString())
    copy.ClearField("record_ref")
    copy.ClearField("expire_time")
    return copy.SerializeToString(deterministic=True)


async def test_a_batch_decides_like_single_calls_bit_for_bit_and_each_decision_replays(store: Serving) -> None:
    options = [
        {"features": numbers(turnover=50_000 + number / 7, years=3.5), "locale": ("de", "en")[number % 2]}
        for number in range(150)  # three chunks
    ]
    batch = [score_request(customer=customer("DE", f"C{2 * n:05}"), **each) for n, each in enumerate(options)]
    batch[1] = score_request(customer=customer("FR", "C00001"))
    batch[2] = score_request(requested_amount=euros(90_000))

    decided = [result.credit_decision for result in await send(store, batch)]
    for decision, request in list(zip(decided, batch, strict=True))[:70]:
        again = pb.ScoreCreditRequest.FromString(request.SerializeToString())
        again.request_id = str(uuid.uuid4())
        alone = (await store.credit.ScoreCredit(again)).credit_decision

        assert without_identity(decision) == without_identity(alone)
    assert len({decision.record_ref.decision_id for decision in decided}) == 150
    assert record_count(store) == 150 + 70
    for decision in (decided[0], decided[149]):
        found = await replay(store, decision.record_ref.decision_id)
        assert [(mode, verdict) for mode, (verdict, _) in found.items()] == [(mode, "match") for mode in MODES]


async def test_a_bad_request_gets_the_error_of_a_single_call_and_spoils_no_other(store: Serving) -> None:
    used = score_request()
    await store.credit.ScoreCredit(used)
    bad: dict[bytes, tuple[str, str]] = {
        b"": (INVALID, "REQUEST_INVALID"),
        b"\xff\xff": (INVALID, "REQUEST_UNREADABLE"),
        score_request(customer=customer("DE", UNKNOWN_CUSTOMER)).SerializeToString(): ("NOT_FOUND", "CUSTOMER_UNKNOWN"),
        score_request(customer=customer("AT")).SerializeToString(): ("FAILED_PRECONDITION", "NO_ACTIVE_MODEL"),
        score_request(product="GOLD").SerializeToString(): ("FAILED_PRECONDITION", "NO_POLICY"),
        score_request(features=numbers(years=301)).SerializeToString(): (INVALID, "FEATURES_INVALID"),
        score_request(facts=numbers(years=1)).SerializeToString(): (INVALID, "FEATURES_INVALID"),
        score_request(request_id="no uuid").SerializeToString(): (INVALID, "REQUEST_INVALID"),
        score_request().SerializeToString() + field(99, b"x"): (INVALID, "REQUEST_INVALID"),
        score_request().SerializeToString() + field(5, b"de") * 2: (INVALID, "REQUEST_INVALID"),
        score_request(request_id=used.request_id, requested_amount=euros(7)).SerializeToString(): (
            INVALID,
            "REQUEST_ID_REUSED",
        ),
    }
    good = questions(len(bad))
    mixed = [each for pair in zip(good, bad, strict=True) for each in pair]

    results = await send(store, mixed)

    assert not {reason(result) for result in results[::2]} - {("", "")}
    assert [reason(result) for result in results[1::2]] == list(bad.values())
    for content, result in zip(bad, results[1::2], strict=True):
        alone = await call_error(raw_method(store.channel, "ScoreCredit")(content))
        assert (alone.code.name, alone.reason) == reason(result)
        assert alone.message == result.error.message
        assert [each.type_url for each in result.error.details][:1] == ["type.googleapis.com/google.rpc.ErrorInfo"]
        assert "301" not in str(result.error)
    assert record_count(store) == 1 + len(good)


async def test_a_request_id_means_the_same_in_a_batch_and_in_a_single_call(store: Serving) -> None:
    first, second = questions(2)
    alone = (await store.credit.ScoreCredit(first)).credit_decision
    results = await send(store, [second, first])
    repeated = await send(store, [first, second])
    again = (await store.credit.ScoreCredit(second)).credit_decision

    encoded = [result.credit_decision.SerializeToString(deterministic=True) for result in (*results, *repeated)]
    assert encoded == [each.SerializeToString(deterministic=True) for each in (again, alone, alone, again)]
    assert record_count(store) == 2


async def test_duplicates_in_a_batch_get_one_decision_even_in_different_chunks(store: Serving) -> None:
    request, other = score_request(), score_request()
    other.request_id = request.request_id.upper()
    changed = score_request(request_id=request.request_id, requested_amount=euros(501))

    results = await send(store, [request, other, changed, *questions(80), request, changed])

    same = [results[index].credit_decision for index in (0, 1, 83)]
    assert len({decision.record_ref.decision_id for decision in same}) == 1
    assert same[0] == same[1] == same[2]
    assert [reason(results[index])[1] for index in (2, 84)] == ["REQUEST_ID_REUSED"] * 2
    assert record_count(store) == 81


async def test_a_repeated_request_that_would_be_rejected_today_gets_its_recorded_answer(
    small_settings: Settings,
) -> None:
    requests = questions(3)
    async with serve(small_settings.model_copy(update={"reload_seconds": 60})) as serving:
        before = await send(serving, requests)
        serving.application.models.current = ServingModels()  # no model serves
        after = await send(serving, [*requests, *questions(1)])

    assert after[:3] == before
    assert reason(after[3]) == ("FAILED_PRECONDITION", "NO_ACTIVE_MODEL")


async def test_a_score_that_does_not_add_up_is_an_incident_in_its_own_answer_only(serving: Serving) -> None:
    class WrongForOne:
        """The scorer of the model, except that one customer's contributions do not add up."""

        def __init__(self, scorer: Any, days_late: float) -> None:
            self._scorer, self._days_late = scorer, days_late

        def explain(self, rows: Any) -> Any:
            """Explain rows; spoil the explanation of one customer."""
            margins, contributions = self._scorer.explain(rows)
            contributions[rows[:, 0] == self._days_late] += 1.0
            return margins, contributions

        def explain_one(self, row: Any) -> Any:
            """Explain one row."""
            margins, contributions = self.explain(row)
            return float(margins[0]), contributions[0].tolist()

    requests = questions(3, features=numbers(turnover=10.0))
    known = [result.credit_decision for result in await send(serving, questions(3, features=numbers(turnover=10.0)))]
    (days_late,) = {
        part.value.number for part in known[1].assessment.explanation.contributions if part.feature == "days_late"
    }
    models = serving.application.models
    spoiled = {
        key: Model(model.bundle, WrongForOne(model.scorer, days_late), model.best_values)  # type: ignore[arg-type]
        for key, model in models.current.serving.items()
    }
    with pytest.raises(AdditivityError):
        next(iter(spoiled.values())).explain({"days_late": days_late})
    models.current = replace(models.current, serving=spoiled)

    results = await send(serving, requests)

    assert [reason(result)[1] for result in results] == ["", "INTERNAL", ""]
    assert results[1].error.message.startswith("incident ")
    assert len(results[1].error.details) == 1


@pytest.mark.parametrize(("count", "kind"), [(0, "REPEATED_MIN_ITEMS"), (501, "REPEATED_MAX_ITEMS")])
async def test_a_batch_has_1_to_500_requests(serving: Serving, count: int, kind: str) -> None:
    error = await call_error(
        serving.credit.BatchScoreCredit(pb.BatchScoreCreditRequest(requests=questions(count))).read()
    )

    assert (error.code.name, error.reason) == (INVALID, "REQUEST_INVALID")
    assert error.kinds == {"requests": kind}
    assert record_count(serving) == 0


async def test_a_batch_larger_than_a_request_may_be_is_rejected_as_a_whole(small_settings: Settings) -> None:
    async with serve(small_settings.model_copy(update={"request_bytes_max": 5000})) as serving:
        batch = pb.BatchScoreCreditRequest(requests=questions(100))
        error = await call_error(serving.credit.BatchScoreCredit(batch).read())

    assert (error.reason, error.metadata["bytes_max"]) == ("REQUEST_TOO_LARGE", "5000")


async def test_the_parts_of_an_answer_fit_into_the_message_limit_of_every_client(serving: Serving) -> None:
    wide = [score_request(features=numbers(turnover=float(number))) for number in range(500)]
    method: Any = serving.channel.unary_stream(METHOD)
    call = method(pb.BatchScoreCreditRequest(requests=wide).SerializeToString())
    parts = [part async for part in call]

    assert len(parts) > 1
    assert max(map(len, parts)) < 1_100_000
    assert sum(len(pb.BatchScoreCreditResponse.FromString(part).results) for part in parts) == 500


async def test_a_cancelled_batch_leaves_later_requests_undecided_and_a_retry_decides_each_once(
    serving: Serving,
) -> None:
    requests = questions(400)
    call = serving.credit.BatchScoreCredit(pb.BatchScoreCreditRequest(requests=requests))
    first = await call.read()
    call.cancel()
    await wait_until(lambda: asyncio.sleep(0, serving.application.interceptor.calls_in_progress == 0))
    await asyncio.sleep(0.3)  # a chunk that has begun may still be recorded
    undecided = 400 - record_count(serving)

    results = await send(serving, requests)

    assert undecided >= 100
    assert list(results[: len(first.results)]) == list(first.results)
    assert record_count(serving) == 400


async def test_batches_have_their_own_limit_and_take_no_place_of_single_calls(small_settings: Settings) -> None:
    settings = small_settings.model_copy(update={"batches_in_flight_max": 1, "requests_in_flight_max": 1})
    async with serve(settings) as serving:
        waiting = serving.application.batch_threads
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        blocked = asyncio.ensure_future(
            waiting.run(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10))
        )
        held = asyncio.ensure_future(send(serving, questions(1)))
        await wait_until(lambda: asyncio.sleep(0, serving.application.interceptor.calls_in_progress == 1))
        second = await call_error(
            serving.credit.BatchScoreCredit(pb.BatchScoreCreditRequest(requests=questions(1))).read()
        )
        alone = await serving.credit.ScoreCredit(score_request())
        release.set()
        await blocked
        results = await held

    assert (second.reason, second.limit) == ("OVERLOADED", "class:batch")
    assert alone.credit_decision.decision
    assert reason(results[0]) == ("", "")


class EndingExecutor(Executor):
    """Runs the first submitted work in a thread. Later work is lost, or rejected as by a closed pool."""

    def __init__(self, *, refuses: bool) -> None:
        self._pool, self._refuses, self.lost = ThreadPoolExecutor(1), refuses, 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if not self.lost:
            self.lost = 1
            return self._pool.submit(work, *args, **kwargs)
        self.lost += 1
        if self._refuses:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return Future()


@pytest.mark.parametrize("refuses", [True, False], ids=["closed", "busy"])
async def test_a_recorded_decision_is_answered_if_the_thread_that_encodes_it_is_busy_or_ends(
    serving: Serving, *, refuses: bool
) -> None:
    asked = [*questions(3), score_request(customer=customer("DE", UNKNOWN_CUSTOMER))]
    threads, executor = serving.application.batch_threads, EndingExecutor(refuses=refuses)
    threads._pool, threads._seconds_max = executor, 2.0

    results = await send(serving, asked)

    assert executor.lost == 2
    assert [reason(result) for result in results[:3]] == [("", "")] * 3
    threads._pool = ThreadPoolExecutor(1)
    again = await send(serving, asked)
    assert [each.credit_decision for each in again[:3]] == [each.credit_decision for each in results[:3]]
