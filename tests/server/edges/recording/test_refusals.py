"""Denied and refused calls are counted in sealed records without values, which auditors can count and attacks cannot swell."""

import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc, bodies_pb2
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from server.config import Settings
from server.edges.recording.refusals import COMBINATIONS_MAX, RefusalCounter
from server.errors import CallerNotAuthenticated, MarketNotAllowed, RateExceeded, RequestInvalid, StoreUnavailable
from server.stores.record_log.entries import LogEntry, Record
from server.stores.record_log.refused_calls import CALLS_REFUSED, RefusedCallReader
from tests.conftest import Serving
from tests.server.edges.identity.certificates import AUDITOR, AUTHORITY, CRM, LOAN_DESK, encode_token, write_key_set
from tests.server.record_logs import NOW, entry, open_test_log
from tests.server.requests import customer, score_request
from tests.server.servers import serve

KEY = ed25519.Ed25519PrivateKey.generate()
ISSUER = "https://issuer.example.com"
SCORE = "/grounds.credit.v1.CreditService/ScoreCredit"


class Recorder:
    """Keeps entries instead of appending them; fails while `broken`."""

    def __init__(self) -> None:
        self.broken = False
        self.bodies: list[bodies_pb2.RefusedCallsRecord] = []

    async def record(self, entry: LogEntry) -> Record:
        """Keep the body of an entry."""
        if self.broken:
            raise StoreUnavailable("broken")
        assert entry.kind == CALLS_REFUSED
        self.bodies.append(bodies_pb2.RefusedCallsRecord.FromString(entry.body))
        return None  # type: ignore[return-value]


async def test_an_attack_with_ever_new_callers_fills_one_bounded_record_a_minute_and_loses_no_count() -> None:
    counter, recorder = RefusalCounter(lambda: NOW), Recorder()
    for number in range(10_000):
        counter.count(f"{number}{'x' * 200}", SCORE, MarketNotAllowed("no", market="DE"))

    await counter.record(recorder)
    await counter.record(recorder)

    (body,) = recorder.bodies
    assert len(body.refusals) == COMBINATIONS_MAX + 1
    assert sum(each.count for each in body.refusals) == 10_000
    other = [each for each in body.refusals if each.reason == "OTHER"]
    assert [(each.caller, each.method) for each in other] == [("", "")]
    assert body.ByteSize() < 40_000


async def test_counts_survive_a_record_that_cannot_be_written_and_other_errors_are_not_counted() -> None:
    counter, recorder = RefusalCounter(lambda: NOW), Recorder()
    counter.count("", SCORE, CallerNotAuthenticated("who"))
    counter.count("a", SCORE, RequestInvalid("bad"))
    counter.count("a", SCORE, ValueError("bug"))
    recorder.broken = True
    with pytest.raises(StoreUnavailable):
        await counter.record(recorder)
    recorder.broken = False
    counter.count("a", SCORE, RateExceeded("slow", retry_seconds=1.0, limit="1"))

    await counter.record(recorder)

    found = {(each.caller, each.reason): each.count for each in recorder.bodies[0].refusals}
    assert found == {("", "CALLER_NOT_AUTHENTICATED"): 1, ("a", "RATE_EXCEEDED"): 1}


@pytest.fixture
async def token_serving(small_settings: Settings, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve on loopback with bearer tokens."""
    (tmp_path / "authority.toml").write_text(AUTHORITY)
    changes: dict[str, Any] = {
        "authority": tmp_path / "authority.toml",
        "jwt_keys": str(write_key_set(tmp_path / "keys.json", {"k1": KEY})),
        "jwt_issuer": ISSUER,
        "jwt_audience": "grounds",
    }
    async with serve(small_settings.model_copy(update=changes)) as serving:
        yield serving


async def test_an_auditor_counts_denied_calls_by_caller_and_reason_and_nobody_else_may(token_serving: Serving) -> None:
    channel, canary = token_serving.channel, f"canary-{uuid.uuid4().hex}"
    credit = credit_pb2_grpc.CreditServiceStub(channel)
    audit = audit_pb2_grpc.AuditServiceStub(channel)

    def as_caller(name: str) -> dict[str, Any]:
        claims = {"iss": ISSUER, "aud": "grounds", "sub": name, "iat": int(time.time()), "exp": int(time.time()) + 300}
        token = encode_token({"alg": "EdDSA", "kid": "k1"}, claims, KEY)
        return {"metadata": [("authorization", f"Bearer {token}")]}

    for options in (as_caller(CRM), as_caller(CRM), {}, {"metadata": [("authorization", f"Bearer {canary}")]}):
        with pytest.raises(grpc.aio.AioRpcError):
            await credit.ScoreCredit(score_request(customer=customer("DE", canary)), **options)
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await audit.CountRefusedCalls(audit_pb2.CountRefusedCallsRequest(), **as_caller(LOAN_DESK))
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    allowed, foreign = score_request(), score_request(customer=customer("AT", "C00000"))
    batch = credit_pb2.BatchScoreCreditRequest(requests=[foreign, allowed, foreign])
    parts = [part async for part in credit.BatchScoreCredit(batch, **as_caller(LOAN_DESK))]
    assert [each.WhichOneof("outcome") for part in parts for each in part.results].count("error") == 2
    application = token_serving.application
    assert application.recorder is not None
    assert application.log is not None
    await application.interceptor.refusals.record(application.recorder)

    answer = await audit.CountRefusedCalls(audit_pb2.CountRefusedCallsRequest(), **as_caller(AUDITOR))

    method = "/grounds.audit.v1.AuditService/CountRefusedCalls"
    assert [(each.caller, each.method, each.reason, each.count) for each in answer.refusals] == [
        ("", SCORE, "CALLER_NOT_AUTHENTICATED", 2),
        (CRM, SCORE, "METHOD_NOT_ALLOWED", 2),
        (LOAN_DESK, SCORE.replace("Score", "BatchScore"), "MARKET_NOT_ALLOWED", 2),
        (LOAN_DESK, method, "METHOD_NOT_ALLOWED", 1),
    ]
    assert answer.record_count == 1
    (body,), _ = RefusedCallReader(application.log).read(None, None)
    assert canary.encode() not in body


def test_counts_are_read_newest_first_in_parts_of_500_records(database_url: str, tmp_path: Path) -> None:
    with open_test_log(database_url, tmp_path) as log:
        minute = dt.timedelta(minutes=1)
        log.append(
            [
                entry(f"{number}".encode(), kind=CALLS_REFUSED, customer=None, labels={}, time=NOW + number * minute)
                for number in range(620)
            ]
        )
        reader = RefusedCallReader(log)

        first, following = reader.read(None, None)
        second, end = reader.read(None, following)

        assert [int(body) for body in first + second] == list(range(619, -1, -1))
        assert (len(first), len(second), end) == (500, 120, None)
        assert [int(body) for body in reader.read(NOW + minute, NOW + 3 * minute)[0]] == [2, 1]
