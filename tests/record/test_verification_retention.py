"""Verification detects ciphertexts that retention did not remove, and changed headers of removed records."""

from dataclasses import replace

import pytest

from grounds_record.export import RetentionProof
from grounds_record.verification_report import FaultKind
from tests.record.logs import SIZE, Log, append_records, check, fault_positions, honest_log

REMOVED = (20, 21, 22, 50)
RETAINED = honest_log(SIZE, {70: REMOVED})
THIRD = RETAINED.checkpoint(SIZE)


def retain_record(log: Log, place: int = 70) -> RetentionProof:
    return RetentionProof(log.rows[place], log.proof(place, SIZE))


def test_a_log_with_removed_ciphertexts_is_verified_with_its_retention_record() -> None:
    assert check(RETAINED.without(REMOVED).rows, THIRD, retentions=(retain_record(RETAINED),)).holds


def test_each_ciphertext_that_no_retention_record_lists_is_reported() -> None:
    report = check(RETAINED.without((*REMOVED, 55, 80)).rows, THIRD, retentions=(retain_record(RETAINED),))

    assert fault_positions(report) == [(FaultKind.CIPHERTEXT_MISSING, 55, 55), (FaultKind.CIPHERTEXT_MISSING, 80, 80)]
    assert "no retention record lists it" in report.sentences()[1]
    assert fault_positions(check(RETAINED.without(REMOVED).rows, THIRD)) == [
        (FaultKind.CIPHERTEXT_MISSING, 20, 22),
        (FaultKind.CIPHERTEXT_MISSING, 50, 50),
    ]


def test_a_changed_header_of_a_removed_record_is_reported() -> None:
    log = RETAINED.without(REMOVED).with_bit(21, "header")

    report = check(log.rows, THIRD, retentions=(retain_record(RETAINED),))

    assert fault_positions(report) == [(FaultKind.RECORD_ALTERED, 21, 21)]


def test_a_changed_leaf_hash_of_a_removed_record_is_reported() -> None:
    log = RETAINED.without(REMOVED).with_bit(21, "nodes0")

    report = check(log.rows, THIRD, retentions=(retain_record(RETAINED),))

    assert not report.holds
    assert any((fault.first, fault.last) in ((20, 21), (21, 21)) for fault in report.faults)


def test_a_removed_record_without_its_stored_hash_is_reported_as_missing() -> None:
    log = RETAINED.without(REMOVED).with_row(50, nodes=())

    report = check(log.rows, THIRD, retentions=(retain_record(RETAINED),))

    assert (FaultKind.RECORD_MISSING, 50, 50) in fault_positions(report)


@pytest.mark.parametrize(
    ("offered", "problem"),
    [
        (RetentionProof(RETAINED.rows[70], RETAINED.proof(71, SIZE)), "does not lead from record 70"),
        (RetentionProof(RETAINED.rows[69], RETAINED.proof(69, SIZE)), "its kind is CREDIT_DECISION"),
        (RetentionProof(honest_log(SIZE, {70: REMOVED}).rows[70], RETAINED.proof(70, SIZE)), "does not lead"),
        (
            RetentionProof(replace(RETAINED.rows[70], ciphertext=None), RETAINED.proof(70, SIZE)),
            "ciphertext is missing",
        ),
    ],
    ids=["wrong proof", "another record", "forged", "removed itself"],
)
def test_an_unproven_retention_record_does_not_explain_a_missing_ciphertext(
    offered: RetentionProof, problem: str
) -> None:
    report = check(RETAINED.without([20]).rows, THIRD, retentions=(offered,))

    assert {fault.kind for fault in report.faults} == {FaultKind.RETENTION_REFUSED, FaultKind.CIPHERTEXT_MISSING}
    assert any(problem in line for line in report.sentences())


def test_a_retention_record_does_not_explain_later_missing_ciphertexts() -> None:
    forward = append_records([(row.header, row.ciphertext or b"") for row in RETAINED.rows[70:] + RETAINED.rows[:70]])
    offered = RetentionProof(forward.rows[0], forward.proof(0, SIZE))

    report = check(forward.without([50]).rows, forward.checkpoint(SIZE), retentions=(offered,))

    assert fault_positions(report) == [(FaultKind.CIPHERTEXT_MISSING, 50, 50)]
