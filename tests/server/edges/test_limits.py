"""Limits on calls, over a real channel: a caller cannot lock out others, and rejected callers learn when to retry."""

import asyncio
import contextlib
import itertools
import resource
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from grounds.audit.v1 import audit_pb2
from grounds.churn.v1 import churn_pb2
from server.config import Settings
from server.edges.limits import CLASS_BY_SERVICE, CallClass, CallLimits, CallRate, LoanDeskPriority, class_of_method
from server.edges.received_request import PendingRequests
from server.edges.thread_pool import StoreThreads
from server.errors import Overloaded, RateExceeded, RequestIncomplete
from tests.conftest import Serving
from tests.server.edges.test_authorization import method_names
from tests.server.http2 import connect
from tests.server.requests import call_error, raw_method, score_request
from tests.server.servers import block_store_threads, in_progress, record_count, serve, wait_for_calls, wait_until

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SCORE = "/grounds.credit.v1.CreditService/ScoreCredit"
IDLE_CONNECTIONS = 2000
Changed = Callable[..., Settings]


@pytest.fixture
def changed(small_settings: Settings) -> Changed:
    """Return a function that takes changes, and returns the settings of the small family with these changes."""
    return lambda **changes: small_settings.model_copy(update={"reload_seconds": 60, **changes})


async def read_status(serving: Serving) -> Any:
    """Return the answer of a health check."""
    return await health_pb2_grpc.HealthStub(serving.channel).Check(health_pb2.HealthCheckRequest(), timeout=10)


async def silent_calls(channel: grpc.aio.Channel, method: str, count: int) -> list[Any]:
    """Begin calls without sending a request; return the calls."""
    calls = [channel.stream_stream(method)() for _ in range(count)]
    await asyncio.sleep(0.2)  # gives the server time to accept the calls
    return calls


async def hold_watches(serving: Serving, count: int) -> list[Any]:
    """Open health watches, and read the first answer of each watch; return the watches."""
    watches = [serving.channel.unary_stream(WATCH)(b"") for _ in range(count)]
    for watch in watches:
        assert await watch.read() is not grpc.aio.EOF
    return watches


async def test_eight_watchers_on_a_limit_of_eight_lock_nobody_out(changed: Changed) -> None:
    async with serve(changed(requests_in_flight_max=8, held_streams_max=8)) as serving:
        watches = await hold_watches(serving, 8)

        ninth = await call_error(serving.channel.unary_stream(WATCH)(b"").read())
        health = await read_status(serving)
        answer = await serving.credit.ScoreCredit(score_request())
        watches[0].cancel()
        await wait_until(lambda: asyncio.sleep(0, in_progress(serving, CallClass.HEALTH_WATCH) == 7))
        await hold_watches(serving, 1)

    assert (ninth.code, ninth.reason, ninth.limit) == (EXHAUSTED, "OVERLOADED", "class:health_watch")
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert answer.credit_decision.decision


async def test_held_reflection_streams_lock_nobody_out(changed: Changed) -> None:
    async with serve(changed(requests_in_flight_max=8, held_streams_max=8)) as serving:
        streams = [serving.channel.stream_stream(REFLECTION)() for _ in range(8)]
        for stream in streams:
            await stream.write(b"\x3a\x00")  # list_services
            assert await stream.read() is not grpc.aio.EOF

        health = await read_status(serving)
        await hold_watches(serving, 8)
        answer = await serving.credit.ScoreCredit(score_request())

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert answer.credit_decision.decision


async def read_reflection_answers(serving: Serving, requests: int) -> int:
    """Send requests on one reflection stream; return the number of answers."""
    stream = serving.channel.stream_stream(REFLECTION)()
    for number in range(requests):
        await stream.write(b"\x3a\x00")  # list_services
        if await stream.read() is grpc.aio.EOF:
            return number
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    return requests


@pytest.mark.parametrize(
    ("changes", "allowed", "reason"),
    [({}, 1000, "OVERLOADED"), ({"calls_per_second_max": 0.001, "calls_burst_max": 5}, 5, "RATE_EXCEEDED")],
)
async def test_the_requests_of_one_reflection_stream_are_limited_like_calls(
    changed: Changed, changes: dict[str, Any], allowed: int, reason: str
) -> None:
    async with serve(changed(**changes)) as serving:
        assert await read_reflection_answers(serving, allowed) == allowed

    async with serve(changed(**changes)) as serving:
        error = await call_error(read_reflection_answers(serving, allowed + 1))

    assert (error.code, error.reason) == (EXHAUSTED, reason)


@pytest.mark.parametrize("method", [SCORE, WATCH, REFLECTION, "/grpc.health.v1.Health/Check"])
async def test_calls_without_a_request_take_no_place_of_a_limit(changed: Changed, method: str) -> None:
    async with serve(changed(requests_in_flight_max=1, held_streams_max=1)) as serving:
        calls = await silent_calls(serving.channel, method, 300)

        health = await read_status(serving)
        await hold_watches(serving, 1)
        answer = await serving.credit.ScoreCredit(score_request())
        for call in calls:
            call.cancel()

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert answer.credit_decision.decision


@pytest.mark.parametrize("method", [SCORE, WATCH, REFLECTION, "/grounds.churn.v1.ChurnService/ExportChurnRisks"])
async def test_a_call_without_a_request_is_ended_after_the_time_limit(changed: Changed, method: str) -> None:
    async with serve(changed(request_seconds_max=0.1)) as serving:
        ended = await call_error(serving.channel.stream_stream(method)().read())
        answer = await serving.credit.ScoreCredit(score_request())

    assert (ended.code, ended.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_INCOMPLETE")
    assert "0.1 seconds" in ended.message
    assert answer.credit_decision.decision


async def test_a_call_that_ends_without_a_request_is_unreadable(serving: Serving) -> None:
    call = serving.channel.stream_stream(SCORE)()
    await call.done_writing()

    assert (await call_error(call.read())).reason == "REQUEST_UNREADABLE"


class SilentCaller:
    """A caller that sends its request only when the test sets the event `sent`."""

    def __init__(self) -> None:
        self.sent = asyncio.Event()

    async def read(self) -> bytes:
        await self.sent.wait()
        return b"request"


async def test_of_too_many_calls_without_a_request_the_oldest_is_ended() -> None:
    pending, callers = PendingRequests(60, pending_max=2), [SilentCaller() for _ in range(3)]
    calls = []
    for caller in callers:
        calls.append(asyncio.create_task(pending.receive(caller)))
        await asyncio.sleep(0)

    with pytest.raises(RequestIncomplete):
        await calls[0]
    for caller in callers:
        caller.sent.set()

    assert await asyncio.gather(*calls[1:]) == [b"request"] * 2


async def test_a_call_beyond_the_limit_learns_which_limit_and_when_to_retry(changed: Changed) -> None:
    async with serve(changed(requests_in_flight_max=2)) as serving:
        with block_store_threads(serving):
            calls = [asyncio.ensure_future(serving.credit.ScoreCredit(score_request())) for _ in range(2)]
            await wait_for_calls(serving, CallClass.LOAN_DESK, 2)
            refused = await call_error(serving.credit.ScoreCredit(score_request()))
        answers = await asyncio.gather(*calls)

    assert (refused.code, refused.reason, refused.limit) == (EXHAUSTED, "OVERLOADED", "class:loan_desk")
    assert refused.metadata == {"call_class": "loan_desk", "limit_max": "2"}
    assert refused.retry_seconds is not None
    assert 0.1 <= refused.retry_seconds <= 1
    assert refused.pushback == 1000 * refused.retry_seconds
    assert all(answer.credit_decision.decision for answer in answers)


async def test_calls_of_the_crm_beyond_their_limit_do_not_keep_the_loan_desk_from_deciding(changed: Changed) -> None:
    async with serve(changed(crm_requests_in_flight_max=3)) as serving:
        with block_store_threads(serving, serving.application.readers) as waiting:
            calls = [
                asyncio.ensure_future(serving.churn.ListChurnRuns(churn_pb2.ListChurnRunsRequest())) for _ in range(3)
            ]
            await waiting(3)
            refused = await call_error(serving.churn.ListChurnRuns(churn_pb2.ListChurnRunsRequest()))
            answer = await serving.credit.ScoreCredit(score_request())
        await asyncio.gather(*calls)

    assert refused.limit == "class:crm"
    assert answer.credit_decision.decision


async def test_work_of_auditors_waits_for_the_loan_desk_but_not_for_ever() -> None:
    limits = CallLimits(dict.fromkeys(CallClass, 9))
    priority, order = LoanDeskPriority(limits, seconds_max=0.3), list[str]()

    async def work(name: str) -> None:
        await priority.wait()
        order.append(name)

    begin = time.monotonic()
    await work("while the loan desk was never busy")
    undisturbed = time.monotonic() - begin
    limits.begin(CallClass.LOAN_DESK, "desk")
    waiting = [asyncio.create_task(work(name)) for name in ("first", "second")]
    await asyncio.sleep(0.05)
    before = list(order)
    await asyncio.gather(*waiting)
    busy = time.monotonic() - begin
    limits.end(CallClass.LOAN_DESK)
    await work("after the loan desk")

    assert undisturbed < 0.3
    assert before == ["while the loan desk was never busy"]
    assert order == [*before, "first", "second", "after the loan desk"]
    assert busy >= 0.6  # each of the two waited for its own 0.3 seconds


async def test_an_auditor_is_answered_while_the_loan_desk_is_never_idle(changed: Changed) -> None:
    async with serve(changed()) as serving:
        with block_store_threads(serving):
            desk = asyncio.ensure_future(serving.credit.ScoreCredit(score_request()))
            await wait_for_calls(serving, CallClass.LOAN_DESK, 1)
            page = await serving.audit.ListRecords(audit_pb2.ListRecordsRequest())
            assert not desk.done()
        await desk

    assert page.records


async def test_after_500_calls_beyond_the_limit_the_server_answers_again(changed: Changed) -> None:
    async with serve(changed(requests_in_flight_max=4)) as serving:
        calls = [serving.credit.ScoreCredit(score_request()) for _ in range(500)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        answers = [await serving.credit.ScoreCredit(score_request()) for _ in range(4)]

        failed = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert {error.code() for error in failed} == {EXHAUSTED}
        assert len(failed) < 500
        assert record_count(serving) == 500 - len(failed) + len(answers)
        assert not any(in_progress(serving, each) for each in CallClass)


async def test_idle_connections_do_not_keep_a_call_from_being_answered(serving: Serving) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * IDLE_CONNECTIONS + 500:
        if hard < 2 * IDLE_CONNECTIONS + 500:
            pytest.skip("this machine does not allow so many open files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * IDLE_CONNECTIONS + 500, hard))
    connections = [connect(serving.application.port) for _ in range(IDLE_CONNECTIONS)]
    for connection in connections:
        await connection.__aenter__()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.application.port}") as channel:
            assert await raw_method(channel, "ScoreCredit")(score_request().SerializeToString())
    finally:
        for connection in connections:
            await connection.__aexit__(None, None, None)


# Limits on the rate of calls


async def test_a_caller_beyond_its_rate_learns_when_to_retry(changed: Changed) -> None:
    async with serve(changed(calls_per_second_max=0.01, calls_burst_max=2)) as serving:
        for _ in range(2):
            await serving.credit.ScoreCredit(score_request())
        refused = await call_error(serving.credit.ScoreCredit(score_request()))
        other_class = await serving.churn.ListChurnRuns(churn_pb2.ListChurnRunsRequest())
        health = [await read_status(serving) for _ in range(5)]

    assert (refused.code, refused.reason, refused.limit) == (EXHAUSTED, "RATE_EXCEEDED", "caller:local")
    assert refused.retry_seconds == pytest.approx(100, abs=10)
    assert other_class is not None
    assert all(each.status == health_pb2.HealthCheckResponse.SERVING for each in health)


def test_a_bucket_regains_its_tokens_and_belongs_to_one_caller_and_class() -> None:
    now = [0.0]
    rate = CallRate(per_second=2, burst=3, clock=lambda: now[0])

    def accepted_count(caller: str, call_class: CallClass) -> int:
        """Spend all tokens of a caller in a class; return how many tokens there were."""
        for count in itertools.count():
            with contextlib.suppress(RateExceeded):
                rate.spend(caller, call_class)
                continue
            return count
        raise AssertionError

    assert accepted_count("desk", CallClass.LOAN_DESK) == 3
    assert accepted_count("desk", CallClass.CRM) == 3
    assert accepted_count("other", CallClass.LOAN_DESK) == 3
    now[0] = 1
    rate.spend("desk", CallClass.LOAN_DESK)
    rate.spend("desk", CallClass.LOAN_DESK)
    with pytest.raises(RateExceeded) as caught:
        rate.spend("desk", CallClass.LOAN_DESK)
    assert caught.value.retry_seconds == 0.5
    now[0] = 2
    assert accepted_count("desk", CallClass.LOAN_DESK) == 2
    now[0] = 1000
    assert accepted_count("desk", CallClass.LOAN_DESK) == 3


def test_full_buckets_are_forgotten() -> None:
    now = [0.0]
    rate = CallRate(per_second=1, burst=1, clock=lambda: now[0])
    for number in range(20_000):
        rate.spend(f"caller {number}", CallClass.CRM)
        now[0] += 0.01

    assert len(rate._buckets) <= 10_000


def test_a_call_that_was_rejected_is_not_counted() -> None:
    limits = CallLimits(dict.fromkeys(CallClass, 1), CallRate(per_second=0.1, burst=1))
    limits.begin(CallClass.CRM, "caller")
    with pytest.raises(Overloaded):
        limits.begin(CallClass.CRM, "caller")
    limits.end(CallClass.CRM)
    with pytest.raises(RateExceeded):
        limits.begin(CallClass.CRM, "caller")

    limits.begin(CallClass.CRM, "other caller")


def test_every_method_belongs_to_a_class_and_long_streams_to_classes_of_their_own() -> None:
    classes = {method: class_of_method(method) for method in method_names()}

    assert set(classes.values()) == set(CallClass)
    assert {method.split("/")[1] for method in classes} == set(CLASS_BY_SERVICE)
    for held in (CallClass.EXPORT, CallClass.HEALTH_WATCH):
        assert len([method for method in classes if classes[method] is held]) == 1


# Cancelled calls and deadlines


async def test_a_cancelled_call_leaves_its_line_in_the_application_log(changed: Changed) -> None:
    async with serve(changed()) as serving:
        with capture_logs() as lines, block_store_threads(serving) as waiting:
            call = asyncio.ensure_future(serving.credit.ScoreCredit(score_request()))
            await waiting(1)
            call.cancel()
            await wait_until(lambda: asyncio.sleep(0, not in_progress(serving, CallClass.LOAN_DESK)))

    assert [line["reason"] for line in lines if line["event"] == "call"] == ["CANCELLED"]
    assert not [line for line in lines if line["event"] == "bug"]


async def test_a_call_whose_deadline_passes_while_it_waits_is_not_started(changed: Changed) -> None:
    async with serve(changed()) as serving:
        with capture_logs() as lines, block_store_threads(serving):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await serving.credit.ScoreCredit(score_request(), timeout=0.2)
            await wait_until(lambda: asyncio.sleep(0, not in_progress(serving, CallClass.LOAN_DESK)))
        await serving.credit.ScoreCredit(score_request())

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert record_count(serving) == 1
    reasons = [line["reason"] for line in lines if line["event"] == "call"]
    assert reasons[0] in {"DEADLINE_EXCEEDED", "CANCELLED"}


async def test_work_that_waits_for_a_thread_is_not_started_after_its_call_was_cancelled() -> None:
    threads, started = StoreThreads(1), []
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    busy = asyncio.create_task(threads.run(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()))
    waiting = asyncio.create_task(threads.run(started.append, "work"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    gate.set()
    await busy
    await threads.run(started.append, "later work")
    threads.close()

    assert started == ["later work"]


# Callers that do not read


async def test_a_watcher_that_does_not_read_delays_neither_other_watchers_nor_the_server(changed: Changed) -> None:
    async with serve(changed()) as serving:
        health = serving.application._health
        async with connect(serving.application.port, window_bytes=0) as deaf:
            deaf.call(1, WATCH, b"")
            await wait_until(lambda: asyncio.sleep(0, in_progress(serving, CallClass.HEALTH_WATCH) == 1))
            (watch,) = await hold_watches(serving, 1)
            async with asyncio.timeout(10):
                await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
                await health.set("", health_pb2.HealthCheckResponse.SERVING)
                await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
                changed_status = await watch.read()

    assert changed_status == health_pb2.HealthCheckResponse(status=2).SerializeToString()


async def test_an_export_that_is_not_read_ends_and_frees_its_place(churn_settings: Settings) -> None:
    export = churn_pb2.ExportChurnRisksRequest(market="DE").SerializeToString()
    settings = churn_settings.model_copy(update={"answer_seconds_max": 0.2, "exports_in_flight_max": 1})
    async with serve(settings) as serving:
        with capture_logs() as lines:
            async with connect(serving.application.port, window_bytes=0) as deaf:
                deaf.call(1, "/grounds.churn.v1.ChurnService/ExportChurnRisks", export)
                await wait_until(lambda: asyncio.sleep(0, any(line["event"] == "call" for line in lines)))
                parts = [
                    part
                    async for part in serving.churn.ExportChurnRisks(churn_pb2.ExportChurnRisksRequest(market="DE"))
                ]

    assert [line["reason"] for line in lines if line["event"] == "call"] == ["ANSWER_NOT_READ", "OK"]
    assert parts
    assert not [line for line in lines if line["event"] == "bug"]
