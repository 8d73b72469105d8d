"""Tests of `verify` with a range of a log and the hashes that cover the records outside the range."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from grounds_record.export import Export
from grounds_record.merkle import consistency_proof
from grounds_record.verification import verify
from grounds_record.verification_report import FaultKind, VerificationReport
from tests.record.logs import KEY, LOG, NEW, OLD, SIZE, Log, fault_positions, flip_bit


def verify_range(log: Log, start: int, end: int, *sizes: int, honest_log: Log = LOG) -> VerificationReport:
    """Verify the rows [start, end) of a log against checkpoints of these sizes.

    Args:
        log: The log whose rows are verified. It may differ from the signed log.
        start: Index of the first row.
        end: Index after the last row.
        sizes: Sizes of the checkpoints that the auditor kept.
        honest_log: The log that the checkpoints, the hashes outside the range and the consistency proofs belong to.
    """
    proofs = {
        size: consistency_proof(size, SIZE, lambda wanted: {node: honest_log.node(node) for node in wanted})
        for size in sizes
    }
    export = Export(
        start=start,
        records=log.rows[start:end],
        before=honest_log.nodes(0, start),
        after=honest_log.nodes(end, SIZE),
        consistency=tuple(proofs.items()),
    )
    return verify(export, [honest_log.checkpoint(size) for size in (*sizes, SIZE)], KEY.verifier())


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_every_range_of_an_honest_log_is_verified_and_one_flipped_bit_is_located(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, SIZE - 1))
    end = data.draw(st.integers(start + 1, SIZE))
    old = data.draw(st.integers(0, SIZE))
    index = data.draw(st.integers(start, end - 1))

    assert verify_range(LOG, start, end, old).proven == tuple(sorted({old, SIZE}))
    assert verify_range(LOG, start, end, old).holds
    assert fault_positions(verify_range(LOG.with_bit(index, "ciphertext"), start, end, old)) == [
        (FaultKind.RECORD_ALTERED, index, index)
    ]


def test_wrong_or_missing_hashes_outside_the_range_are_reported() -> None:
    good = Export(start=40, records=LOG.rows[40:90], before=LOG.nodes(0, 40), after=LOG.nodes(90, SIZE))
    wrong = (flip_bit(good.before[0]), *good.before[1:])
    for export, kind in (
        (replace(good, before=wrong), FaultKind.RECORD_ALTERED_WITHIN),
        (replace(good, before=good.before[1:]), FaultKind.EXPORT_INCOMPLETE),
        (replace(good, after=good.after[1:]), FaultKind.EXPORT_INCOMPLETE),
        (replace(good, after=(flip_bit(good.after[0]), *good.after[1:])), FaultKind.HISTORY_REWRITTEN),
        (replace(good, after=()), FaultKind.RECORD_MISSING),
    ):
        report = verify(export, [NEW], KEY.verifier())
        assert kind in {fault.kind for fault in report.faults}
        assert report.refuted == (() if kind in {FaultKind.EXPORT_INCOMPLETE, FaultKind.RECORD_MISSING} else (SIZE,))
    assert verify(good, [NEW], KEY.verifier()).holds


def test_a_record_rewritten_with_matching_hashes_is_located_within_the_exported_range() -> None:
    log = LOG.rewritten([45])
    export = Export(start=40, records=log.rows[40:90], before=log.nodes(0, 40), after=log.nodes(90, SIZE))

    report = verify(export, [NEW], KEY.verifier())

    assert fault_positions(report) == [(FaultKind.HISTORY_REWRITTEN, 40, 89)]
    assert "or the export contains wrong hashes of the rest of the log" in report.sentences()[1]


def test_a_range_after_the_newest_checkpoint_is_reported_as_incomplete() -> None:
    export = Export(start=80, records=LOG.rows[80:], before=LOG.nodes(0, 80))

    report = verify(export, [OLD], KEY.verifier())

    assert fault_positions(report) == [(FaultKind.EXPORT_INCOMPLETE, None, None)]


def test_hashes_before_the_range_that_contradict_a_checkpoint_are_reported() -> None:
    export = Export(start=60, records=LOG.rows[60:], before=LOG.rewritten([5]).nodes(0, 60))

    report = verify(export, [OLD], KEY.verifier())

    assert report.faults[0].kind is FaultKind.EXPORT_INCOMPLETE
    assert report.refuted == (60,)


def test_a_checkpoint_outside_the_range_needs_a_valid_consistency_proof() -> None:
    export = Export(start=80, records=LOG.rows[80:], before=LOG.nodes(0, 80))
    forged = LOG.rewritten([5])
    proof = consistency_proof(60, SIZE, lambda wanted: {node: forged.node(node) for node in wanted})

    for consistency in ((), ((60, proof),), ((60, ()),)):
        report = verify(replace(export, consistency=consistency), [OLD, NEW], KEY.verifier())
        assert fault_positions(report) == [(FaultKind.CHECKPOINT_UNPROVEN, None, None)]
