"""Errors and the application log: the caller sees only the incident id of a bug, and no log line has customer data."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import grpc
import pytest
from structlog.testing import capture_logs

from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from models.isolation.processes import GraphProcesses
from server.background import BackgroundTasks
from server.config import Settings
from server.edges.audit.decision_notice import NoticeWriter
from server.edges.audit.decision_replay import ReplaySources
from server.edges.credit.batches import DecisionBatches
from server.edges.credit.customer_history import CustomerHistory
from server.edges.credit.decision_making import DecisionMaker
from server.edges.credit.events import DecisionEvents
from server.edges.credit.servicer import CreditServicer
from server.edges.interceptor import CallInterceptor
from server.edges.page_tokens import PageTokens
from server.edges.recording.events import EventRecorder
from server.edges.recording.recorder import Recorder
from server.edges.recording.refusals import RefusalCounter
from server.edges.thread_pool import StoreThreads
from server.monitoring.meters import Meters
from server.registry.bundle_activation import ActivationJournal
from server.registry.model_registry import CREDIT_FAMILY, ModelRegistry
from server.registry.policy_activation import activate_policy_of_file
from server.registry.policy_registry import PolicyRegistry
from server.stores.catalog.bundle_cache import BundleCaches
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.features import FeatureStore
from server.stores.record_log.opening import KeyLocations, open_log
from tests.conftest import Serving
from tests.server.requests import (
    UNKNOWN_CUSTOMER,
    call_error,
    customer,
    euros,
    numbers,
    score_request,
    simulate_request,
)

WORDS = "the clock of C00000 shows 77123.5"
NOON = dt.datetime(2026, 2, 2, 12, tzinfo=dt.UTC)


def broken_clock() -> NoReturn:
    """Raise an error whose message has customer data."""
    raise RuntimeError(WORDS)


async def ignore_change() -> None:
    """Do nothing."""


@asynccontextmanager
async def serve_with_clock(
    settings: Settings, clock: Callable[[], dt.datetime]
) -> AsyncIterator[credit_pb2_grpc.CreditServiceStub]:
    """Serve CreditService behind the interceptor. The given clock is that of requests, and not that of the start."""
    database, threads, models = Database(settings.database), StoreThreads(1), ModelRegistry(settings.bundles)
    database.migrate()
    log = open_log(
        database, KeyLocations(settings.keys, settings.master_key, settings.signing_key, settings.log_origin)
    )
    recorder, graphs = Recorder(log, ignore_change), GraphProcesses()
    recording = BackgroundTasks()
    recording.repeat("recorder", recorder.step, seconds=0, until=lambda: recorder.is_finished)
    policies = PolicyRegistry(settings.policy, PolicyStore(database))
    policies.start()
    activate_policy_of_file(log, policies.current, NOON, only_first=True)
    policies.refresh()
    models.journal = ActivationJournal(log, settings.bundles, lambda: NOON)
    models.refresh()
    server = grpc.aio.server(interceptors=[CallInterceptor(settings.request_bytes_max)])
    features = FeatureStore(database)
    maker = DecisionMaker(models, policies, features, log, Meters(), clock)
    bundles = BundleCaches(settings.bundles, graphs, models.find_serving).for_family(CREDIT_FAMILY)
    servicer = CreditServicer(
        maker=maker,
        features=features,
        recorder=recorder,
        events=DecisionEvents(log, EventRecorder(log, recorder, threads, clock)),
        threads=threads,
        history=CustomerHistory(log, PageTokens(lambda: [bytes(32)], 1, clock), threads),
        batches=DecisionBatches(maker, recorder, threads, clock, RefusalCounter(clock).count),
        write_notice=NoticeWriter(log, ReplaySources(bundles, PolicyStore(database), features), threads).write,
    )
    credit_pb2_grpc.add_CreditServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield credit_pb2_grpc.CreditServiceStub(channel)
    await server.stop(None)
    await recorder.close()
    await recording.stop()
    graphs.close()
    log.close()
    threads.close()
    database.close()


async def test_the_caller_sees_only_the_incident_id_of_a_bug(small_settings: Settings) -> None:
    async with serve_with_clock(small_settings, broken_clock) as credit:
        error = await call_error(credit.ScoreCredit(score_request()))

    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert error.message == f"incident {uuid.UUID(error.metadata['incident_id'])}"
    assert list(error.metadata) == ["incident_id"]
    assert not error.problems
    for word in (WORDS, "RuntimeError", "clock", "C00000", "77123"):
        assert word not in error.everything


async def test_the_log_line_of_a_bug_has_incident_and_location_but_no_message(
    small_settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serve_with_clock(small_settings, broken_clock) as credit:
        with capture_logs() as lines:
            error = await call_error(credit.ScoreCredit(score_request()))

    bug = next(line for line in lines if line["event"] == "bug")
    assert bug["incident_id"] == error.metadata["incident_id"]
    assert bug["error"] == "RuntimeError"
    assert bug["location"][-1].endswith("broken_clock")
    assert any("ScoreCredit" in frame for frame in bug["location"])
    for written in (str(lines), caplog.text, *capfd.readouterr()):
        assert WORDS not in written
        assert "C00000" not in written


async def test_a_decision_has_the_time_of_the_servicers_clock(small_settings: Settings) -> None:
    async with serve_with_clock(small_settings, lambda: NOON) as credit:
        answer = await credit.ScoreCredit(score_request())

    assert answer.credit_decision.record_ref.decide_time.ToDatetime(dt.UTC) == NOON


async def test_no_log_line_has_customer_data(
    serving: Serving, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    request = score_request(features=numbers(turnover=7712345.5, years=77.2345), requested_amount=euros(31415))
    with capture_logs() as lines:
        decided = (await serving.credit.ScoreCredit(request)).credit_decision
        await serving.credit.GetCreditDecision(pb.GetCreditDecisionRequest(decision_id=decided.record_ref.decision_id))
        await serving.credit.SimulateCredit(simulate_request(features=numbers(days_late=77.2345)))
        for wrong in (
            score_request(customer=customer("DE", UNKNOWN_CUSTOMER)),
            score_request(features=numbers(days_late=7712345.5, orders=-77.2345)),
            score_request(features=numbers(turnover=float("nan"))),
            score_request(customer=customer("DE", UNKNOWN_CUSTOMER + " "), requested_amount=euros(-31415)),
            score_request(request_id=request.request_id, features=numbers(years=77.2345)),
        ):
            await call_error(serving.credit.ScoreCredit(wrong))

    calls = [line for line in lines if line["event"] == "call"]
    assert len(calls) == 8
    assert {line["reason"] for line in calls} >= {"OK", "CUSTOMER_UNKNOWN", "FEATURES_INVALID", "REQUEST_INVALID"}
    always = {"event", "log_level", "method", "reason", "milliseconds", "principal", "stages"}
    assert all(always <= set(line) <= always | {"market", "request_id", "decision_id"} for line in calls)
    assert calls[0]["decision_id"] == calls[1]["decision_id"] == decided.record_ref.decision_id
    assert (calls[0]["market"], calls[0]["request_id"], calls[0]["principal"]) == ("DE", request.request_id, "local")
    assert set(calls[0]["stages"]) == {"validate", "features", "score", "seal", "commit"}
    for written in (str(lines), caplog.text, *capfd.readouterr()):
        for secret in ("C00000", UNKNOWN_CUSTOMER, "7712345", "77.2345", "31415"):
            assert secret not in written
