"""Evidence of churn predictions: it is complete, it has valid proofs, and every reading is recorded."""

import asyncio
import hashlib
import json
import math
import struct

import grpc
import pytest
from sqlalchemy import select

from grounds.audit.v1 import bodies_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from grounds_record.activations import CHANGE_KINDS
from grounds_record.checkpoint import open_checkpoint
from grounds_record.merkle import verify_inclusion
from grounds_record.note import parse_verifier_key
from server.maintenance.erasure import erase_customer
from server.stores.clock import utc_now
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.audits import (
    CHURN_CUSTOMER,
    PURPOSE,
    churn_replay,
    evidence_call,
    first_run_id,
    list_runs,
    read_churn_evidence,
    read_readings,
    read_row,
    record_log,
    replay_verdicts,
    run_record_id,
)
from tests.server.churn_runs import ChurnFamily
from tests.server.requests import call_error, customer
from tests.server.run_trees import OLD_ID, add_old_run, climb, leaves_of, root_over


@pytest.fixture
def serving(churn_serving: Serving) -> Serving:
    """Serve a scoring run."""
    return churn_serving


def leaf_data(serving: Serving, name: str) -> bytes:
    """Return the bytes that a record's leaf hash covers."""
    row = read_row(serving, name)
    return len(row.header).to_bytes(4, "big") + row.header + row.ciphertext


async def test_evidence_contains_the_prediction_with_its_explanation_and_the_run(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    request = churn_pb2.GetChurnRiskRequest(customer=customer(*CHURN_CUSTOMER), locale="de")
    risk = (await serving.churn.GetChurnRisk(request)).churn_risk
    (run,) = [each for each in (await list_runs(serving)) if each.market == "FR"]

    found = await read_churn_evidence(serving, risk.run_id, *CHURN_CUSTOMER, locale="de")

    assert found.body_state == evidence_pb2.BODY_STATE_READABLE
    assert (found.churn_risk, found.run) == (risk, run)
    explanation = found.churn_risk.explanation
    total = math.fsum([explanation.base_value, *(line.log_odds for line in explanation.contributions)])
    assert abs(total - risk.log_odds) <= 1e-9
    inputs = [(line.feature, None if math.isnan(line.number) else line.number) for line in found.features]
    assert inputs == [
        (line.feature, line.value.number if line.HasField("value") else None) for line in explanation.contributions
    ]
    assert {value for _, value in inputs} > {None}
    bundle = churn_family.model.bundle
    assert found.bundle.model.summary.bundle_id == bundle.bundle_id == found.record.bundle_id
    assert dict(found.bundle.files) == bundle.manifest.files


async def test_the_row_equals_the_prediction_and_its_proof_needs_only_the_public_key(
    serving: Serving,
) -> None:
    for market, customer_id in (("DE", "C00000"), ("DE", "B00309"), CHURN_CUSTOMER):
        found = await read_churn_evidence(serving, first_run_id(serving, market), market, customer_id)
        row, risk, proof = bodies_pb2.ChurnRiskRow.FromString(found.row), found.churn_risk, found.row_proof

        assert (row.customer_id, row.status) == (customer_id, "SCORED")
        assert (row.log_odds, row.pd, row.rank) == (risk.log_odds, risk.churn_probability, risk.rank)
        assert f"RISK_BAND_{row.band}" == churn_pb2.RiskBand.Name(risk.risk_band)
        assert [each["code"] for each in json.loads(row.drivers)] == [each.code for each in risk.drivers.reasons]
        parts = struct.unpack(f"<{len(row.contributions) // 8}d", row.contributions)
        assert list(parts) == [line.log_odds for line in risk.explanation.contributions]
        assert len(row.salt) == 16

        leaf = hashlib.sha256(b"\x00" + found.row).digest()
        leaves = leaves_of(record_log(serving), market)
        root = climb(proof.index, proof.size, leaf, proof.hashes)
        assert leaf == proof.leaf_hash == leaves[proof.index]
        assert (root, proof.size) == (root_over(leaves), len(leaves))
        assert root in {each.rows_root for each in found.record.markets if each.market == market}
        header = json.loads(found.proof.record.header)
        assert header["labels"][f"rows_{market.lower()}"] == f"{proof.size}:{root.hex()}"
        checkpoint = open_checkpoint(found.proof.checkpoint, parse_verifier_key(found.verifier_key))
        name = run_record_id(found.run_id)
        assert header["record_id"] == name
        of_record = hashlib.sha256(b"\x00" + leaf_data(serving, name)).digest()
        verify_inclusion(
            found.proof.record.index, checkpoint.size, of_record, tuple(found.proof.hashes), checkpoint.root
        )


async def test_after_an_erasure_the_proofs_of_all_rows_remain_valid(
    serving: Serving,
) -> None:
    before = await read_churn_evidence(serving, first_run_id(serving), *CHURN_CUSTOMER)
    erase_customer(record_log(serving), CHURN_CUSTOMER, "request 7", utc_now())

    found = await read_churn_evidence(serving, first_run_id(serving), *CHURN_CUSTOMER)
    replayed = await churn_replay(
        serving, first_run_id(serving), *CHURN_CUSTOMER, "VERIFY", "SCORE", "EXPLANATION", "FEATURES"
    )

    assert found.body_state == evidence_pb2.BODY_STATE_ERASED
    assert not any((found.HasField("churn_risk"), found.row, found.features))
    assert found.row_proof == before.row_proof
    assert found.proof.record == before.proof.record
    assert replayed["VERIFY"].WhichOneof("verdict") == "match"
    for mode in ("SCORE", "EXPLANATION", "FEATURES"):
        assert replayed[mode].unavailable.why == evidence_pb2.UNAVAILABLE_REASON_INPUT_ERASED
    assert await replay_verdicts(serving, of=("FR", "C00702")) == {
        "VERIFY": "match",
        "SCORE": "match",
        "EXPLANATION": "match",
    }


async def test_a_row_that_an_earlier_release_loaded_has_no_proof(serving: Serving) -> None:
    add_old_run(record_log(serving), "FR")

    found = await read_churn_evidence(serving, OLD_ID, *CHURN_CUSTOMER)
    replayed = await churn_replay(serving, OLD_ID, *CHURN_CUSTOMER)
    await asyncio.to_thread(erase_customer, record_log(serving), CHURN_CUSTOMER, "request 7", utc_now())
    erased = await read_churn_evidence(serving, OLD_ID, *CHURN_CUSTOMER)

    assert bodies_pb2.ChurnRiskRow.FromString(found.row).customer_id == CHURN_CUSTOMER[1]
    assert not found.HasField("row_proof")
    assert found.record.markets[0].rows_sha256
    result = replayed["VERIFY"].unavailable
    assert result.why == evidence_pb2.UNAVAILABLE_REASON_PROOF_MISSING
    assert "earlier release" in result.detail
    assert (replayed["SCORE"].WhichOneof("verdict"), erased.body_state) == ("match", evidence_pb2.BODY_STATE_ERASED)


async def test_every_reading_is_recorded_with_its_purpose_and_the_customers_tag(serving: Serving) -> None:
    run_id = first_run_id(serving)
    found = await read_churn_evidence(serving, run_id, *CHURN_CUSTOMER)
    await churn_replay(serving, run_id, *CHURN_CUSTOMER, "VERIFY")

    readings = [
        (each.run_id, each.market, each.method, each.purpose, each.decision_id) for each in read_readings(serving)
    ]
    row = read_row(serving, found.reading.record_id)
    header = json.loads(row.header)

    assert readings == [(run_id, "FR", method, PURPOSE, "") for method in ("GetChurnEvidence", "ReplayChurnRisk")]
    assert header["labels"] == {"about": run_record_id(run_id), "method": "GetChurnEvidence"}
    assert header["customer_tag"] == record_log(serving).customer_tag(*CHURN_CUSTOMER)
    assert CHURN_CUSTOMER[1].encode() not in row.header
    erase_customer(record_log(serving), CHURN_CUSTOMER, "request 7", utc_now())
    assert len(read_readings(serving)) == 2, "readings remain after the erasure of the customer"


async def test_evidence_is_not_returned_if_the_reading_cannot_be_recorded(serving: Serving) -> None:
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )

    error = await call_error(evidence_call(serving))

    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_an_unknown_customer_or_run_is_rejected_and_no_reading_is_recorded(serving: Serving) -> None:
    unknown_run = await call_error(evidence_call(serving, "f" * 32))
    elsewhere = await call_error(evidence_call(serving, first_run_id(serving), ("AT", "C1")))
    nobody = await call_error(evidence_call(serving, of=("FR", "NOBODY")))

    assert (unknown_run.code, unknown_run.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_UNKNOWN")
    assert unknown_run.metadata["record_id"] == run_record_id("f" * 32)
    assert (elsewhere.reason, nobody.reason) == ("RUN_UNKNOWN", "CUSTOMER_UNKNOWN")
    assert read_readings(serving) == []
    with serving.application.database.reading() as connection:
        others = select(RECORDS.c.kind).where(RECORDS.c.kind.not_in(CHANGE_KINDS))
        assert connection.execute(others).scalars().all() == ["CHURN_RUN"]
