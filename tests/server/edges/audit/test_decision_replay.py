"""Replay of decisions with the recorded bundle and policy: each mode has the right verdict."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest
from sqlalchemy import select, update

from grounds.audit.v1 import audit_pb2, evidence_pb2
from grounds.credit.v1 import credit_pb2
from grounds_record.sealed_record import SealedRecord, open_record, seal_record
from server.config import Settings
from server.stores.float_arrays import pack_doubles, unpack_doubles
from server.stores.tables import FEATURES
from tests.conftest import START_RECORDS, Serving
from tests.server.audits import MODES, read_row, replay, score_customer, set_columns
from tests.server.requests import call_error, euros, numbers
from tests.server.servers import activate_new_policy, copy_bundle, serve, swap_model, wait_until
from tests.small import POLICY, SmallFamily


async def decide(serving: Serving, number: int = 0, **changes: object) -> str:
    """Score a customer, and return the decision_id."""
    return (await score_customer(serving, number, **changes)).record_ref.decision_id


@dataclass(frozen=True, slots=True)
class EditableRecord:
    """A record whose body a test changes and encrypts again, which only an owner of all keys can do."""

    serving: Serving
    decision_id: str

    def change(self, edit: Callable[[audit_pb2.DecisionRecord], None]) -> None:
        """Apply an edit to the recorded body and encrypt the body again; the Merkle tree stays unchanged."""
        log = self.serving.application.log
        assert log is not None
        row = read_row(self.serving, self.decision_id)
        key = log.key_store.unwrap(log.key_store.find_by_id({row.key_id})[row.key_id])
        header, body = open_record(SealedRecord(row.header, row.ciphertext), key)
        record = audit_pb2.DecisionRecord.FromString(body)
        edit(record)
        set_columns(
            self.serving, self.decision_id, ciphertext=seal_record(header, record.SerializeToString(), key).ciphertext
        )


async def test_an_unchanged_decision_matches_in_every_mode(serving: Serving) -> None:
    cases = (
        {},
        {"number": 1, "locale": "en"},
        {"number": 2, "requested_amount": euros(80_000)},
        {"number": 3, "features": numbers(turnover=55_000.25, years=3.5)},
    )
    for case in cases:
        found = await replay(serving, await decide(serving, **case))

        assert [(mode, verdict) for mode, (verdict, _) in found.items()] == [(mode, "match") for mode in MODES]
        assert all(verdict.compared_count > 0 for _, verdict in found.values())


async def test_a_decision_that_is_not_scorable_matches_in_every_mode(serving: Serving) -> None:
    with serving.application.database.writing() as connection:
        wanted = select(FEATURES.c.row).where(FEATURES.c.customer_id == "C00000")
        days, *others = unpack_doubles(connection.execute(wanted).scalar_one())
        assert not math.isnan(days)
        connection.execute(
            update(FEATURES).where(FEATURES.c.customer_id == "C00000").values(row=pack_doubles([None, *others]))
        )
    decision = await score_customer(serving)

    found = await replay(serving, decision.record_ref.decision_id)

    assert decision.decision == credit_pb2.DECISION_NOT_SCORABLE
    assert {verdict for verdict, _ in found.values()} == {"match"}


async def test_a_replay_uses_the_recorded_bundle_and_policy_after_both_were_replaced(
    small_settings: Settings, other: SmallFamily
) -> None:
    async with serve(small_settings) as serving:
        before = [await decide(serving, number) for number in range(6)]
        await swap_model(serving, other.bundle_folder)
        stricter = POLICY.replace("test-1", "test-2").replace("approve_max_pd = 0.20", "approve_max_pd = 0.01")
        activate_new_policy(serving, stricter)

        async def is_renewed() -> bool:
            return (await score_customer(serving)).assessment.policy_result.policy_version == "test-2"

        await wait_until(is_renewed)
        after = [await decide(serving, number) for number in range(6)]

        for decision_id in (*before, *after):
            found = await replay(serving, decision_id)
            assert {verdict for verdict, _ in found.values()} == {"match"}, found


def change_margin(record: audit_pb2.DecisionRecord) -> None:
    """Change the margin in its last bit."""
    record.numbers.margin *= 1 + 2**-52


def change_contribution(record: audit_pb2.DecisionRecord) -> None:
    """Change one contribution."""
    record.numbers.contributions[0] += 1e-15


def change_input_number(record: audit_pb2.DecisionRecord) -> None:
    """Change the first model input, both its value and its number."""
    record.features[0].value.number += 1
    record.features[0].number += 1


def change_reason(record: audit_pb2.DecisionRecord) -> None:
    """Change the text of a reason."""
    answer = credit_pb2.CreditDecision.FromString(record.answer)
    answer.assessment.reasons.reasons[0].text += "!"
    record.answer = answer.SerializeToString(deterministic=True)


def change_outcome(record: audit_pb2.DecisionRecord) -> None:
    """Change the outcome."""
    answer = credit_pb2.CreditDecision.FromString(record.answer)
    answer.decision = credit_pb2.DECISION_DECLINE
    record.answer = answer.SerializeToString(deterministic=True)


EDITS = (
    (change_margin, "SCORE", "numbers.margin"),
    (change_contribution, "EXPLANATION", "numbers.contributions[0]"),
    (change_input_number, "FEATURES", "features[0].value.number"),
    (change_reason, "EXPLANATION", "answer.assessment.reasons.reasons[0].text"),
    (change_outcome, "SCORE", "answer.decision"),
)


@pytest.mark.parametrize(("edit", "mode", "field"), EDITS, ids=[edit.__name__ for edit, _, _ in EDITS])
async def test_the_replay_of_a_changed_record_reports_the_changed_field(
    serving: Serving, edit: Callable[[audit_pb2.DecisionRecord], None], mode: str, field: str
) -> None:
    decision = await score_customer(serving, 4, requested_amount=euros(60_000))
    decision_id = decision.record_ref.decision_id
    assert decision.assessment.reasons.reasons
    assert decision.decision != credit_pb2.DECISION_DECLINE
    EditableRecord(serving, decision_id).change(edit)

    found = await replay(serving, decision_id)

    verdict, result = found[mode]
    assert (verdict, result.field) == ("mismatch", field)
    assert result.stored != result.recomputed
    assert result.differing_count >= 1
    assert found["VERIFY"][0] == "mismatch", "the record hash no longer fits into the tree"
    if edit is change_margin:
        assert [name for name, (verdict, _) in found.items() if verdict == "match"] == ["FEATURES", "EXPLANATION"]
        assert float(result.stored) != float(result.recomputed)


async def test_verify_reports_a_changed_column(serving: Serving) -> None:
    decision_id = await decide(serving)
    await decide(serving, 1)
    set_columns(serving, decision_id, grade="Z9")

    verdict, result = (await replay(serving, decision_id, "VERIFY"))["VERIFY"]

    assert (verdict, result.field) == ("mismatch", "COLUMN_ALTERED")
    assert f"record {START_RECORDS}: " in result.recomputed


async def test_verify_reports_a_decision_that_was_moved_out_of_the_tree(serving: Serving) -> None:
    decision_id = await decide(serving)
    set_columns(serving, decision_id, record_index=99)

    verdict, result = (await replay(serving, decision_id, "VERIFY"))["VERIFY"]

    assert (verdict, result.field) == ("mismatch", "HASH_ALTERED")
    assert "index of the record was changed" in result.recomputed


async def test_a_small_difference_in_a_different_runtime_has_the_verdict_runtime_differs(serving: Serving) -> None:
    decision_id = await decide(serving, 4)

    def record_older_release(record: audit_pb2.DecisionRecord) -> None:
        record.runtime.onnxruntime = "1.0.0"
        record.numbers.pd *= 1 + 2**-52

    EditableRecord(serving, decision_id).change(record_older_release)

    found = await replay(serving, decision_id, "SCORE", "EXPLANATION", "FEATURES")

    verdict, result = found["SCORE"]
    assert (verdict, result.differing_count) == ("runtime_differs", 1)
    assert 0 < result.pd_distance <= 1e-12
    assert (found["EXPLANATION"][0], found["EXPLANATION"][1].differing_count) == ("runtime_differs", 0)
    assert found["FEATURES"][0] == "match"


async def test_a_small_difference_in_a_different_release_of_grounds_is_a_mismatch(serving: Serving) -> None:
    decision_id = await decide(serving, 4)

    def record_older_release(record: audit_pb2.DecisionRecord) -> None:
        record.runtime.grounds = "0.0.1"
        record.numbers.pd *= 1 + 2**-52

    EditableRecord(serving, decision_id).change(record_older_release)

    assert (await replay(serving, decision_id, "SCORE"))["SCORE"][0] == "mismatch"


async def test_a_what_if_uses_a_different_bundle_and_is_marked_as_not_evidence(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    decision = await score_customer(serving, 4)
    copy_bundle(other.bundle_folder, serving.settings.bundles)

    found = await replay(
        serving, decision.record_ref.decision_id, "WHAT_IF", "SCORE", bundle_id=other.bundle_folder.name
    )
    own = await replay(serving, decision.record_ref.decision_id, "WHAT_IF", bundle_id=small.bundle_folder.name)

    verdict, result = found["WHAT_IF"]
    assert verdict == "what_if"
    assert result.notice.startswith("NOT EVIDENCE")
    assert result.assessment.model_output.bundle_id == result.bundle_id == other.bundle_folder.name
    assert result.assessment.model_output.pd != decision.assessment.model_output.pd
    assert found["SCORE"][0] == "match"
    assert own["WHAT_IF"][1].assessment == decision.assessment, (
        "a what-if with the bundle that decided repeats the decision"
    )


async def test_a_what_if_with_an_unknown_bundle_is_rejected(serving: Serving) -> None:
    decision_id = await decide(serving)
    request = evidence_pb2.ReplayDecisionRequest(
        decision_id=decision_id, purpose="x", modes=[evidence_pb2.REPLAY_MODE_WHAT_IF], bundle_id="0" * 64
    )

    error = await call_error(serving.audit.ReplayDecision(request))
    request.bundle_id = ""
    without = await call_error(serving.audit.ReplayDecision(request))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN")
    assert without.reason == "REQUEST_INVALID"
    assert "bundle_id is needed" in without.message
