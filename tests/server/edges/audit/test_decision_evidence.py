"""Evidence of decisions: it is complete, it has a valid proof, and every reading is recorded."""

import hashlib
import json
import uuid

import grpc
import pytest
from sqlalchemy import delete, select

from grounds.audit.v1 import audit_pb2, evidence_pb2
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds_record.checkpoint import open_checkpoint
from grounds_record.merkle import leaf_hash, verify_inclusion
from grounds_record.note import parse_verifier_key
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.tables import POLICIES, RECORDS
from tests.conftest import START_RECORDS, Serving
from tests.server.audits import PURPOSE, read_evidence, read_readings, read_row, score_customer, set_columns
from tests.server.events import outcome_request, override_request, score_with_outcome
from tests.server.requests import call_error, numbers, raw_method, score_request
from tests.server.servers import swap_model
from tests.small import SmallFamily

NOWHERE = "00000000-0000-4000-8000-000000000000"


async def test_evidence_contains_request_and_answer_as_bytes_and_as_messages(serving: Serving) -> None:
    request = score_request(features=numbers(turnover=20_000.0), locale="de")
    content = request.SerializeToString()
    sent = await raw_method(serving.channel, "ScoreCredit")(content)
    decision = credit_pb2.ScoreCreditResponse.FromString(sent).credit_decision

    found = await read_evidence(serving, decision.record_ref.decision_id)

    assert found.body_state == evidence_pb2.BODY_STATE_READABLE
    assert found.record.request == content
    assert credit_pb2.ScoreCreditResponse(credit_decision=decision).SerializeToString() == sent
    assert found.record.answer == decision.SerializeToString(deterministic=True)
    assert (found.request, found.decision) == (request, decision)
    assert found.decision.assessment.reasons.locale == "de"
    assert found.record.caller == "local"
    assert found.record.runtime.onnxruntime
    assert found.record.receive_time.ToNanoseconds() <= found.record.decide_time.ToNanoseconds()


async def test_evidence_contains_overrides_and_outcomes(serving: Serving) -> None:
    decision = await score_with_outcome(serving, credit_pb2.DECISION_APPROVE)
    before = await read_evidence(serving, decision.record_ref.decision_id)
    override = (await serving.credit.RecordOverride(override_request(decision))).override
    outcome = (await serving.credit.RecordOutcome(outcome_request(decision))).outcome

    found = await read_evidence(serving, decision.record_ref.decision_id)

    assert (list(before.overrides), list(before.outcomes)) == ([], [])
    assert (list(found.overrides), list(found.outcomes)) == ([override], [outcome])


async def test_every_record_id_begins_with_its_time(serving: Serving) -> None:
    decision = await score_with_outcome(serving, credit_pb2.DECISION_APPROVE)
    await serving.credit.RecordOverride(override_request(decision))
    await serving.credit.RecordOutcome(outcome_request(decision))
    await read_evidence(serving, decision.record_ref.decision_id)

    with serving.application.database.reading() as connection:
        rows = connection.execute(select(RECORDS).order_by(RECORDS.c.record_index)).all()[START_RECORDS:]

    names = [uuid.UUID(row.record_id) for row in rows]
    assert {row.kind for row in rows} == {"CREDIT_DECISION", "CREDIT_OVERRIDE", "CREDIT_OUTCOME", "EVIDENCE_READING"}
    assert {(name.version, name.variant) for name in names} == {(7, uuid.RFC_4122)}
    assert [name.int >> 80 for name in names] == [row.time_us // 1000 for row in rows]
    assert names[0] == uuid.UUID(decision.record_ref.decision_id)


async def test_evidence_contains_every_feature_with_value_number_source_and_time(serving: Serving) -> None:
    decision = await score_customer(serving, 2, features=numbers(turnover=33_000.5))

    found = await read_evidence(serving, decision.record_ref.decision_id)

    lines = {line.feature: line for line in found.record.features}
    assert list(lines) == ["days_late", "orders", "turnover", "years"]
    assert lines["turnover"].value.number == lines["turnover"].number == 33_000.5
    assert lines["turnover"].source == explain_pb2.VALUE_SOURCE_CALLER
    assert not lines["turnover"].HasField("as_of_time")
    assert lines["days_late"].source == explain_pb2.VALUE_SOURCE_STORE
    assert lines["days_late"].as_of_time.ToJsonString() == "2026-01-01T00:00:00Z"


async def test_evidence_contains_the_recorded_bundle_and_policy_after_both_were_replaced(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    decision = await score_customer(serving)
    await swap_model(serving, other.bundle_folder)

    found = await read_evidence(serving, decision.record_ref.decision_id)

    bundle = small.bundle()
    assert found.bundle.model.summary.bundle_id == small.bundle_folder.name == found.record.bundle_id
    assert found.bundle.model.card == bundle.card
    assert dict(found.bundle.files) == bundle.manifest.files
    assert dict(found.bundle.made_from) == bundle.manifest.made_from
    assert found.record.baseline_sha256 == bundle.manifest.files["baseline.json"]
    assert found.policy.content == small.policy.read_bytes()
    assert found.policy.sha256 == hashlib.sha256(found.policy.content).hexdigest() == found.record.policy_sha256
    assert found.policy.version == "test-1"


async def test_the_proof_connects_the_stored_bytes_with_the_signed_root(serving: Serving) -> None:
    decisions = [await score_customer(serving, number) for number in range(5)]

    found = await read_evidence(serving, decisions[2].record_ref.decision_id)

    proof, record = found.proof, found.proof.record
    checkpoint = open_checkpoint(proof.checkpoint, parse_verifier_key(found.verifier_key))
    data = len(record.header).to_bytes(4, "big") + record.header + record.ciphertext
    verify_inclusion(record.index, proof.tree_size, leaf_hash(data), tuple(proof.hashes), checkpoint.root)
    assert (checkpoint.size, record.index) == (proof.tree_size, START_RECORDS + 2)
    assert found.reading.index == START_RECORDS + 5 < checkpoint.size, "the tree of the checkpoint includes the reading"


async def test_every_reading_is_recorded_with_caller_method_and_purpose(serving: Serving) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id

    first = await read_evidence(serving, decision_id)
    await read_evidence(serving, decision_id.upper(), "Complaint 4711")

    readings = read_readings(serving)
    assert [(line.decision_id, line.method, line.purpose, line.caller) for line in readings] == [
        (decision_id, "GetEvidence", PURPOSE, "local"),
        (decision_id, "GetEvidence", "Complaint 4711", "local"),
    ]
    header = json.loads(read_row(serving, first.reading.record_id).header)
    assert header["labels"] == {"about": decision_id, "method": "GetEvidence"}
    assert header["customer_tag"] == ""


async def test_evidence_is_not_returned_if_the_reading_cannot_be_recorded(serving: Serving) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id
    log = serving.application.log
    assert log is not None
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )

    error = await call_error(
        serving.audit.GetEvidence(audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=PURPOSE))
    )

    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert read_readings(serving) == []


@pytest.mark.parametrize("purpose", ["", "   ", "\n\t", "x" * 501])
async def test_a_reading_without_a_purpose_is_rejected(serving: Serving, purpose: str) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id

    error = await call_error(
        serving.audit.GetEvidence(audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=purpose))
    )

    assert error.reason == "REQUEST_INVALID"
    assert set(error.problems) == {"purpose"}


async def test_an_id_of_no_decision_is_rejected_and_no_reading_is_recorded(serving: Serving) -> None:
    reading = (await read_evidence(serving, (await score_customer(serving)).record_ref.decision_id)).reading

    for name in (NOWHERE, reading.record_id):
        error = await call_error(
            serving.audit.GetEvidence(audit_pb2.GetEvidenceRequest(decision_id=name, purpose=PURPOSE))
        )
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "DECISION_UNKNOWN")
    assert len(read_readings(serving)) == 1


async def test_evidence_of_an_erased_decision_contains_proof_and_reading(serving: Serving) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id
    log = serving.application.log
    assert log is not None
    with log.key_store.database.writing() as connection:
        connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.key_id == read_row(serving, decision_id).key_id))

    found = await read_evidence(serving, decision_id)

    assert found.body_state == evidence_pb2.BODY_STATE_ERASED
    assert not any(found.HasField(name) for name in ("request", "decision", "record", "bundle", "policy"))
    assert found.proof.record.header == read_row(serving, decision_id).header
    assert found.reading.index == START_RECORDS + 1


async def test_no_evidence_is_returned_for_a_damaged_decision(serving: Serving) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id
    ciphertext = bytearray(read_row(serving, decision_id).ciphertext)
    ciphertext[40] ^= 1
    set_columns(serving, decision_id, ciphertext=bytes(ciphertext))

    error = await call_error(
        serving.audit.GetEvidence(audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=PURPOSE))
    )

    assert (error.code, error.reason) == (grpc.StatusCode.DATA_LOSS, "RECORD_DAMAGED")


@pytest.mark.parametrize("index", [99, -1])
async def test_a_decision_that_was_moved_out_of_the_tree_is_reported_as_damaged(serving: Serving, index: int) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id
    set_columns(serving, decision_id, record_index=index)

    error = await call_error(
        serving.audit.GetEvidence(audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=PURPOSE))
    )

    assert (error.code, error.reason) == (grpc.StatusCode.DATA_LOSS, "RECORD_DAMAGED")


async def test_evidence_contains_no_policy_if_the_saved_policy_was_changed(serving: Serving) -> None:
    decision_id = (await score_customer(serving)).record_ref.decision_id
    with serving.application.database.writing() as connection:
        connection.execute(POLICIES.update().values(content=b"version = 'forged'"))

    found = await read_evidence(serving, decision_id)

    assert not found.HasField("policy")
    assert found.HasField("bundle")
