"""AuditService over a real channel: proofs are valid, and records of decisions are complete."""

import math
import platform
from pathlib import Path

import grpc
import onnxruntime
import pytest

from grounds.audit.v1 import audit_pb2 as pb
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds_record.checkpoint import open_checkpoint
from grounds_record.merkle import verify_consistency, verify_inclusion
from grounds_record.note import parse_verifier_key
from grounds_record.sealed_record import SealedRecord
from server.config import Settings
from server.edges.audit.proofs import record_message
from server.edges.audit.stored_records import StoredRecords
from server.stores.record_log.proofs import ProofReader, stored_bytes
from tests.conftest import START_RECORDS, Serving
from tests.server.requests import call_error, customer, field, numbers, raw_method, score_request
from tests.server.servers import serve
from tests.small import SmallFamily

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def decide(serving: Serving, count: int) -> list[str]:
    """Score customers, and return the decision_ids."""
    answers = [
        (await serving.credit.ScoreCredit(score_request(customer=customer("DE", f"C{2 * number:05d}")))).credit_decision
        for number in range(count)
    ]
    return [answer.record_ref.decision_id for answer in answers]


async def test_a_decision_has_an_inclusion_proof_as_soon_as_it_is_answered(serving: Serving) -> None:
    for name in await decide(serving, 5):
        newest = await serving.audit.GetCheckpoint(pb.GetCheckpointRequest())
        proof = await serving.audit.GetInclusionProof(pb.GetInclusionProofRequest(record_id=name.upper()))

        checkpoint = open_checkpoint(proof.checkpoint, parse_verifier_key(newest.verifier_key))
        leaf = SealedRecord(proof.record.header, proof.record.ciphertext).leaf_hash()
        assert proof.tree_size == checkpoint.size
        verify_inclusion(proof.record.index, checkpoint.size, leaf, tuple(proof.hashes), checkpoint.root)
        assert proof.record.columns["record_id"] == name


async def test_a_newer_checkpoint_is_consistent_with_an_older_one(serving: Serving) -> None:
    notes = []
    for count in (1, 3, 4):
        await decide(serving, count)
        notes.append(await serving.audit.GetCheckpoint(pb.GetCheckpointRequest()))
    key = parse_verifier_key(notes[0].verifier_key)
    trees = [open_checkpoint(note.checkpoint, key) for note in notes]

    for old in trees:
        request = pb.GetConsistencyProofRequest(old_size=old.size)
        proof = await serving.audit.GetConsistencyProof(request)

        assert proof.new_size == trees[-1].size == START_RECORDS + 8
        verify_consistency(old.size, proof.new_size, old.root, trees[-1].root, tuple(proof.hashes))


async def test_pages_of_records_are_in_order_and_complete(serving: Serving) -> None:
    names = await decide(serving, 7)

    page = await serving.audit.ListRecords(pb.ListRecordsRequest(start=START_RECORDS + 2, end=START_RECORDS + 6))
    nothing = await serving.audit.ListRecords(pb.ListRecordsRequest(start=START_RECORDS + 7))

    assert [record.index for record in page.records] == [START_RECORDS + number for number in (2, 3, 4, 5)]
    assert [record.columns["record_id"] for record in page.records] == names[2:6]
    assert (page.next_start, nothing.next_start, len(nothing.records)) == (0, 0, 0)


async def test_a_page_that_is_read_in_parts_or_ends_early_has_the_bytes_of_the_stored_records(serving: Serving) -> None:
    await decide(serving, 60)
    proofs, priority = ProofReader(serving.application.database), serving.application.interceptor.priority
    expected = [record_message(record) for record in proofs.read_all(START_RECORDS + 60)]
    hasty = StoredRecords(proofs, serving.application.readers, priority, page_seconds_max=0)

    whole = await serving.audit.ListRecords(pb.ListRecordsRequest())
    short, start = list[list[pb.StoredRecord]](), 0
    while not short or start:
        page = pb.ListRecordsResponse.FromString(await hasty.list_page(pb.ListRecordsRequest(start=start)))
        short.append(list(page.records))
        start = page.next_start

    assert (list(whole.records), whole.next_start) == (expected, 0)
    assert [record for page in short for record in page] == expected
    assert [len(page) for page in short] == [25, 25, START_RECORDS + 10]


async def test_a_page_ends_before_it_is_larger_than_a_megabyte(serving: Serving) -> None:
    await decide(serving, 60)
    proofs = ProofReader(serving.application.database)
    everything = proofs.read_page(0, START_RECORDS + 60)

    rest = proofs.read_page(30, START_RECORDS + 60, bytes_before=1_000_000 - stored_bytes(everything[30]))
    nothing = proofs.read_page(30, START_RECORDS + 60, bytes_before=1_000_000)
    alone = proofs.read_page(30, START_RECORDS + 60, rows_max=1)

    assert [record.index for record in rest] == [30]
    assert nothing == []
    assert [record.index for record in alone] == [30]


async def test_unknown_records_and_tree_sizes_are_rejected_with_a_reason(serving: Serving) -> None:
    names, audit = await decide(serving, 2), serving.audit

    unknown = await call_error(audit.GetInclusionProof(pb.GetInclusionProofRequest(record_id=UNKNOWN)))
    size = START_RECORDS + 2
    sizes = [
        await call_error(audit.GetInclusionProof(pb.GetInclusionProofRequest(record_id=names[0], tree_size=size + 1))),
        await call_error(audit.GetInclusionProof(pb.GetInclusionProofRequest(record_id=names[1], tree_size=size - 1))),
        await call_error(audit.GetConsistencyProof(pb.GetConsistencyProofRequest(old_size=2, new_size=1))),
        await call_error(audit.GetConsistencyProof(pb.GetConsistencyProofRequest(old_size=1, new_size=size + 1))),
        await call_error(audit.ListRecords(pb.ListRecordsRequest(start=0, end=size + 1))),
        await call_error(audit.GetRangeProof(pb.GetRangeProofRequest(start=2, end=1, tree_size=2))),
        await call_error(audit.GetRangeProof(pb.GetRangeProofRequest(start=0, end=1, tree_size=size + 1))),
        await call_error(audit.GetRangeProof(pb.GetRangeProofRequest(end=1, tree_size=2, kept_sizes=[3]))),
    ]
    wrong = await call_error(audit.GetInclusionProof(pb.GetInclusionProofRequest(record_id="7")))

    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "RECORD_UNKNOWN")
    assert {(error.code, error.reason) for error in sizes} == {(grpc.StatusCode.INVALID_ARGUMENT, "TREE_SIZE_UNKNOWN")}
    assert wrong.reason == "REQUEST_INVALID"


def read_decision_record(
    serving: Serving, response: bytes
) -> tuple[pb.DecisionRecord, credit_pb2.CreditDecision, bytes]:
    """Return the decrypted record of an answer, and the bytes of the answer."""
    decision = credit_pb2.ScoreCreditResponse.FromString(response).credit_decision
    log = serving.application.log
    assert log is not None
    kept = log.find_by_id(decision.record_ref.decision_id)
    assert kept is not None
    return pb.DecisionRecord.FromString(kept.body), decision, decision.SerializeToString(deterministic=True)


async def test_a_record_contains_request_and_answer_byte_for_byte(serving: Serving) -> None:
    bare, values = score_request().SerializeToString(), numbers(turnover=50_000, years=3)
    entries = [field(4, field(1, name.encode()) + field(2, value)) for name, value in values.items()]
    request = entries[1] + bare + entries[0]  # a field order that no serializer produces

    response = await raw_method(serving.channel, "ScoreCredit")(request)
    record, _, answer = read_decision_record(serving, response)

    assert record.request == request
    assert record.answer == answer
    assert response.endswith(record.answer)


async def test_a_record_contains_every_input_with_source_and_time_and_the_runtime(
    serving: Serving, small: SmallFamily
) -> None:
    request = score_request(features=numbers(turnover=50_000)).SerializeToString()
    record, decision, _ = read_decision_record(serving, await raw_method(serving.channel, "ScoreCredit")(request))
    bundle, assessment = small.bundle(), decision.assessment
    lines = {line.feature: line for line in assessment.explanation.contributions}

    assert [model_input.feature for model_input in record.features] == list(bundle.schema.names)
    for model_input in record.features:
        assert (model_input.source, model_input.as_of_time, model_input.value) == (
            lines[model_input.feature].source,
            lines[model_input.feature].as_of_time,
            lines[model_input.feature].value,
        )
        assert (
            math.isnan(model_input.number)
            if not model_input.HasField("value")
            else model_input.number == model_input.value.number
        )
    sources = {model_input.feature: model_input.source for model_input in record.features}
    assert (sources["turnover"], sources["days_late"]) == (
        explain_pb2.VALUE_SOURCE_CALLER,
        explain_pb2.VALUE_SOURCE_STORE,
    )
    numbers_ = record.numbers
    assert (numbers_.log_odds, numbers_.pd) == (assessment.model_output.log_odds, assessment.model_output.pd)
    assert list(numbers_.contributions) == [lines[model_input.feature].log_odds for model_input in record.features]
    assert numbers_.base_value == assessment.explanation.base_value
    assert numbers_.log_odds - math.fsum([numbers_.base_value, *numbers_.contributions]) == numbers_.residual
    assert numbers_.margin == bundle_margin(bundle.scorecard, numbers_.log_odds)
    assert (record.bundle_id, record.baseline_sha256) == (small.bundle_folder.name, bundle.baseline_sha256)
    assert record.feature_set_digest == bundle.schema.feature_set_digest
    assert record.policy_sha256 == assessment.policy_result.policy_sha256
    assert (record.runtime.onnxruntime, record.runtime.python) == (onnxruntime.__version__, platform.python_version())
    assert record.receive_time.ToNanoseconds() <= record.decide_time.ToNanoseconds()
    assert record.decide_time == decision.record_ref.decide_time


def bundle_margin(card: object, log_odds: float) -> object:
    """Return an approximate value that equals the margin of the log-odds up to the rounding error of a division."""
    return pytest.approx((log_odds - card.intercept) / card.slope, abs=1e-12)  # type: ignore[attr-defined]


async def test_a_decision_that_is_not_scorable_is_recorded_too(small_settings: Settings, tmp_path: Path) -> None:
    policy = tmp_path / "mandatory.toml"
    text = small_settings.policy.read_text()
    policy.write_text(text.replace('market = "DE"', 'market = "DE"\nmandatory_inputs = ["turnover"]', 1))
    async with serve(small_settings.model_copy(update={"policy": policy})) as serving:
        response = await raw_method(serving.channel, "ScoreCredit")(score_request().SerializeToString())
        record, decision, answer = read_decision_record(serving, response)

    assert decision.decision == credit_pb2.DECISION_NOT_SCORABLE
    assert record.answer == answer
    assert not record.HasField("numbers")
    assert record.bundle_id
    assert {model_input.feature for model_input in record.features if model_input.HasField("value")} >= {"days_late"}
