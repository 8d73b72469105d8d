"""Requests of an auditor to a server."""

from typing import Any

from sqlalchemy import select, update

from grounds.audit.v1 import audit_pb2, churn_evidence_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS, RUNS
from tests.conftest import Serving
from tests.server.requests import customer, numbers, score_request

PURPOSE = "Annual review 2026, case 17"
CHURN_CUSTOMER = ("FR", "C00701")  # a customer of the small churn run
MODES = ("VERIFY", "FEATURES", "SCORE", "EXPLANATION")


async def score_customer(serving: Serving, number: int = 0, **changes: Any) -> credit_pb2.CreditDecision:
    """Return the server's decision about a customer of the small family."""
    who = customer("DE" if number % 2 == 0 else "FR", f"C{number:05d}")
    asked = {"customer": who, "features": numbers(turnover=20_000.0 + number), "locale": "de"} | changes
    return (await serving.credit.ScoreCredit(score_request(**asked))).credit_decision


async def read_evidence(serving: Serving, decision_id: str, purpose: str = PURPOSE) -> audit_pb2.Evidence:
    """Return the evidence of a decision."""
    request = audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=purpose)
    return (await serving.audit.GetEvidence(request)).evidence


async def replay(serving: Serving, decision_id: str, *modes: str, bundle_id: str = "") -> dict[str, Any]:
    """Replay a decision; return for each mode a pair of the verdict's name and the verdict."""
    request = evidence_pb2.ReplayDecisionRequest(
        decision_id=decision_id,
        purpose=PURPOSE,
        modes=[evidence_pb2.ReplayMode.Value(f"REPLAY_MODE_{mode}") for mode in modes],
        bundle_id=bundle_id,
    )
    answer = await serving.audit.ReplayDecision(request)
    found = {}
    for result in answer.results:
        verdict = result.WhichOneof("verdict")
        name = evidence_pb2.ReplayMode.Name(result.mode).removeprefix("REPLAY_MODE_")
        found[name] = (verdict, getattr(result, verdict))
    return found


def read_row(serving: Serving, record_id: str) -> Any:
    """Return the row of a record in the table of records, unverified."""
    with serving.application.database.reading() as connection:
        return connection.execute(select(RECORDS).where(RECORDS.c.record_id == record_id)).one()


def set_columns(serving: Serving, record_id: str, **values: Any) -> None:
    """Change columns of a record in the database, as an attacker with write access could."""
    with serving.application.database.writing() as connection:
        connection.execute(update(RECORDS).where(RECORDS.c.record_id == record_id).values(**values))


async def read_churn_evidence(
    serving: Serving, run_id: str, market: str, customer_id: str, **asked: Any
) -> audit_pb2.ChurnEvidence:
    """Return the evidence of a churn prediction."""
    fields: dict[str, Any] = {"run_id": run_id, "customer": customer(market, customer_id), "purpose": PURPOSE} | asked
    request = churn_evidence_pb2.GetChurnEvidenceRequest(**fields)
    return (await serving.audit.GetChurnEvidence(request)).evidence


async def churn_replay(
    serving: Serving, run_id: str, market: str, customer_id: str, *modes: str, bundle_id: str = ""
) -> dict[str, evidence_pb2.ReplayResult]:
    """Replay a churn prediction; return the results by mode."""
    request = churn_evidence_pb2.ReplayChurnRiskRequest(
        run_id=run_id,
        customer=customer(market, customer_id),
        purpose=PURPOSE,
        modes=[evidence_pb2.ReplayMode.Value(f"REPLAY_MODE_{mode}") for mode in modes],
        bundle_id=bundle_id,
    )
    answer = await serving.audit.ReplayChurnRisk(request)
    return {evidence_pb2.ReplayMode.Name(each.mode).removeprefix("REPLAY_MODE_"): each for each in answer.results}


def read_readings(serving: Serving) -> list[evidence_pb2.EvidenceReadingRecord]:
    """Return all records of evidence readings, decrypted."""
    log = serving.application.log
    assert log is not None
    with serving.application.database.reading() as connection:
        wanted = select(RECORDS.c.record_id).where(RECORDS.c.kind == "EVIDENCE_READING")
        names = connection.execute(wanted.order_by(RECORDS.c.record_index)).scalars().all()
    bodies = [log.find_by_id(name) for name in names]
    return [evidence_pb2.EvidenceReadingRecord.FromString(kept.body) for kept in bodies if kept is not None]


def record_log(serving: Serving) -> RecordLog:
    """Return the record log of a server."""
    assert serving.application.log is not None
    return serving.application.log


def first_run_id(serving: Serving, market: str = "FR") -> str:
    """Return the run_id of the first run of a market."""
    wanted = select(RUNS.c.run_id).where(RUNS.c.market == market).order_by(RUNS.c.run_number).limit(1)
    with serving.application.database.reading() as connection:
        return str(connection.execute(wanted).scalar_one())


def run_record_id(run_id: str) -> str:
    """Return the id of a run's record, which is the run_id in the form of a UUID."""
    return "-".join((run_id[:8], run_id[8:12], run_id[12:16], run_id[16:20], run_id[20:]))


async def replay_verdicts(
    serving: Serving, *modes: str, of: tuple[str, str] = CHURN_CUSTOMER, run_id: str = ""
) -> dict[str, str | None]:
    """Replay a churn prediction; return the names of the verdicts by mode."""
    found = await churn_replay(serving, run_id or first_run_id(serving, of[0]), *of, *modes)
    return {mode: result.WhichOneof("verdict") for mode, result in found.items()}


async def list_runs(serving: Serving) -> list[churn_pb2.ChurnRun]:
    """Return the newest runs."""
    return list((await serving.churn.ListChurnRuns(churn_pb2.ListChurnRunsRequest())).runs)


def evidence_call(serving: Serving, run_id: str = "", of: tuple[str, str] = CHURN_CUSTOMER) -> Any:
    """Return a call that reads churn evidence; the caller awaits the call."""
    request = churn_evidence_pb2.GetChurnEvidenceRequest(
        run_id=run_id or first_run_id(serving, of[0]), customer=customer(*of), purpose=PURPOSE
    )
    return serving.audit.GetChurnEvidence(request)
