"""Thread pools: the loan desk has a pool of its own, and every thread has a database connection."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from grounds.audit.v1 import audit_pb2, churn_evidence_pb2, evidence_pb2, sample_pb2
from grounds.churn.v1 import churn_pb2
from server.config import Settings
from server.edges.call_deadline import start_call
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable
from tests.conftest import Serving
from tests.server.requests import score_request
from tests.server.servers import block_store_threads, serve, wait_until

PATIENCE_SECONDS = 10


@pytest.fixture
async def with_runs(churn_settings: Settings) -> AsyncIterator[Serving]:
    """Serve credit and churn."""
    async with serve(churn_settings) as serving:
        yield serving


async def test_a_decision_is_answered_while_crm_and_auditors_wait(with_runs: Serving) -> None:
    """All methods of CRM and auditors use the readers' or the replays' pool, never a thread of the loan desk."""
    application, audit, churn = with_runs.application, with_runs.audit, with_runs.churn
    decision_id = (await with_runs.credit.ScoreCredit(score_request())).credit_decision.record_ref.decision_id
    customer = {"market": "DE", "customer_id": "K0"}
    of_run: dict[str, Any] = {"run_id": "a" * 32, "customer": customer, "purpose": "a test"}
    slow = [
        audit.GetCheckpoint(audit_pb2.GetCheckpointRequest()),
        audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(record_id=decision_id)),
        audit.GetConsistencyProof(audit_pb2.GetConsistencyProofRequest(old_size=1)),
        audit.ListRecords(audit_pb2.ListRecordsRequest()),
        audit.GetRangeProof(audit_pb2.GetRangeProofRequest(end=1, tree_size=1)),
        audit.GetEvidence(audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose="a test")),
        audit.ListDecisions(sample_pb2.ListDecisionsRequest()),
        audit.GetChurnEvidence(churn_evidence_pb2.GetChurnEvidenceRequest(**of_run)),
        audit.SampleDecisions(sample_pb2.SampleDecisionsRequest(seed="a seed", size=1)),
        churn.GetChurnRisk(churn_pb2.GetChurnRiskRequest(customer=customer)),
        churn.BatchGetChurnRisks(churn_pb2.BatchGetChurnRisksRequest(customers=[customer])),
        churn.ListChurnRisks(churn_pb2.ListChurnRisksRequest(market="DE")),
        churn.ListChurnRiskChanges(churn_pb2.ListChurnRiskChangesRequest(market="DE")),
        churn.ListChurnRuns(churn_pb2.ListChurnRunsRequest()),
    ]
    replays = [
        audit.ReplayDecision(evidence_pb2.ReplayDecisionRequest(decision_id=decision_id, purpose="a test")),
        audit.ReplayChurnRisk(churn_evidence_pb2.ReplayChurnRiskRequest(**of_run)),
    ]
    with (
        block_store_threads(with_runs, application.readers) as reads_waiting,
        block_store_threads(with_runs, application.replays) as replays_waiting,
    ):
        calls = [asyncio.ensure_future(call) for call in slow + replays]
        await reads_waiting(len(slow))
        await replays_waiting(len(replays))
        async with asyncio.timeout(PATIENCE_SECONDS / 2):
            answer = await with_runs.credit.ScoreCredit(score_request())
        assert not [call for call in calls if call.done()]
    await asyncio.gather(*calls, return_exceptions=True)

    assert answer.credit_decision.record_ref.decision_id


async def test_all_configured_threads_can_read_at_the_same_time(small_settings: Settings) -> None:
    """Each thread has a connection to the database and to the key store, so no thread waits for another thread."""
    async with serve(small_settings.model_copy(update={"store_threads": 20})) as serving:
        log = serving.application.log
        assert log is not None
        for database in (serving.application.database, log.key_store.database):
            together = threading.Barrier(40)

            def read(database: object = database, together: threading.Barrier = together) -> int:
                with database.reading():  # type: ignore[attr-defined]
                    return together.wait(PATIENCE_SECONDS / 2)

            with ThreadPoolExecutor(40) as pool:
                readers = [pool.submit(read) for _ in range(40)]
                await asyncio.wait([asyncio.wrap_future(reader) for reader in readers])
            assert sorted(reader.result() for reader in readers) == list(range(40))


async def test_work_that_hangs_fails_its_call_in_time_and_further_calls_immediately() -> None:
    threads, free, done = StoreThreads(1, seconds_max=0.2), threading.Event(), list[int]()
    first = asyncio.create_task(threads.run(free.wait, PATIENCE_SECONDS))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(threads.run(done.append, 2))
    for call in (first, second):
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            await call
    await asyncio.sleep(0.05)
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match="does not answer in time"):
        await threads.run(done.append, 3)
    took = time.monotonic() - start
    free.set()
    await wait_until(lambda: asyncio.sleep(0, not threads._started))
    await threads.run(done.append, 4)

    assert threads.close(PATIENCE_SECONDS)
    assert took < 0.2
    assert done == [4]  # work that had not started when its call ended was dropped


async def test_all_waits_of_a_call_share_one_time_limit_which_long_work_does_not_use_up() -> None:
    threads = StoreThreads(2)

    async def call() -> None:
        start_call(0.3)
        await threads.run_long(time.sleep, 0.4)
        await threads.run(time.sleep, 0.01)  # succeeds, because `run_long` restarted the time limit
        start_call(0.3)
        with pytest.raises(StoreUnavailable):
            await threads.run(time.sleep, 0.5)
        with pytest.raises(StoreUnavailable):
            await threads.run(time.sleep, 0)

    await asyncio.create_task(call())
    await threads.run(time.sleep, 0.01)  # is not part of the call, so the call's time limit does not apply

    assert threads.close(PATIENCE_SECONDS)


async def test_a_panic_in_a_thread_fails_the_call_and_not_the_server() -> None:
    threads = StoreThreads(1)
    with pytest.raises(Exception, match="SystemExit"):
        await threads.run(sys.exit, 1)
    with pytest.raises(Exception, match="StopIteration"):
        await threads.run(next, iter(()))

    assert await threads.run(abs, -1) == 1
    assert threads.close(PATIENCE_SECONDS)
