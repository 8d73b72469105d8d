"""Verification with the public key and a checkpoint detects every change of a log, and reports the changed record."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounds_record.export import Export
from grounds_record.note import SigningKey
from grounds_record.sealed_record import seal_record
from grounds_record.verification import verify
from grounds_record.verification_report import Fault, FaultKind
from tests.record.logs import (
    CUSTOMER_KEY,
    KEY,
    LOG,
    NEW,
    OLD,
    SIZE,
    Log,
    append_records,
    check,
    fault_positions,
    flip_bit,
    header,
    honest_log,
)


def test_an_honest_log_is_verified_and_the_report_lists_the_proven_checkpoints() -> None:
    report = check(LOG.rows)

    assert report.holds
    assert (report.proven, report.refuted, report.start, report.end, report.size) == ((60, 100), (), 0, 100, 100)
    assert report.sentences() == (
        "100 records, 0 up to 100: verified",
        "the checkpoint of 60 records holds",
        "the checkpoint of 100 records holds",
    )


def test_an_honest_log_of_every_size_is_verified_against_each_of_its_checkpoints() -> None:
    for size in range(1, 34):
        for old in range(size + 1):
            assert check(LOG.rows[:size], LOG.checkpoint(old), LOG.checkpoint(size)).proven == tuple(
                sorted({old, size})
            )


@pytest.mark.parametrize("column", ["header", "ciphertext"])
@pytest.mark.parametrize("place", [0, 1, 31, 59, 60, 63, 98, 99])
@pytest.mark.parametrize("kept", [NEW, LOG.checkpoint(60)], ids=["newest", "old"])
def test_a_flipped_bit_of_a_record_is_reported_for_this_record(place: int, column: str, kept: str) -> None:
    report = check(LOG.with_bit(place, column).rows, kept)

    assert fault_positions(report) == [(FaultKind.RECORD_ALTERED, place, place)]
    assert report.sentences()[1].startswith(f"record {place}: ")


@pytest.mark.parametrize(("place", "level"), [(0, 0), (31, 0), (31, 1), (31, 5), (63, 6), (98, 0), (99, 2)])
def test_a_flipped_bit_of_a_stored_hash_is_reported_without_accusing_the_record(place: int, level: int) -> None:
    report = check(LOG.with_bit(place, f"nodes{level}").rows)

    assert fault_positions(report) == [(FaultKind.HASH_ALTERED, place, place)]
    assert report.proven == (60, 100)
    assert "the record is unchanged" in report.sentences()[1]


@pytest.mark.parametrize("nodes", [(), LOG.rows[31].nodes[:-1], (*LOG.rows[31].nodes, bytes(32)), (b"", b"x")])
def test_missing_additional_and_incomplete_stored_hashes_are_reported_for_their_record(
    nodes: tuple[bytes, ...],
) -> None:
    report = check(LOG.with_row(31, nodes=nodes).rows)

    assert fault_positions(report) == [(FaultKind.HASH_ALTERED, 31, 31)]


def test_a_changed_index_is_reported_for_its_record() -> None:
    for wrong in (3, 10**12):
        report = check(LOG.with_row(40, index=wrong).rows)
        assert not report.holds
        assert any(fault.first in (3, 40) for fault in report.faults)


@pytest.mark.parametrize("place", [0, 1, 30, 31, 63, 98])
def test_a_deleted_record_is_reported_as_missing(place: int) -> None:
    report = check([row for row in LOG.rows if row.index != place])

    assert (FaultKind.RECORD_MISSING, place, place) in fault_positions(report)
    assert len(report.faults) == 1


def test_adjacent_deleted_records_are_reported_as_one_range() -> None:
    report = check(LOG.rows[:40] + LOG.rows[47:])

    assert fault_positions(report) == [(FaultKind.RECORD_MISSING, 40, 46)]
    assert report.sentences()[1] == "records 40 to 46: missing"


@pytest.mark.parametrize("place", [0, 30, 31, 63])
def test_a_deletion_that_moves_later_records_up_is_reported_from_the_first_moved_record(place: int) -> None:
    rows = [row for row in LOG.rows if row.index != place]

    report = check([replace(row, index=index) for index, row in enumerate(rows)])

    assert fault_positions(report)[0] == (FaultKind.RECORD_MISPLACED, place, 98)
    assert (FaultKind.RECORD_MISSING, 99, 99) in fault_positions(report)


@pytest.mark.parametrize("left", [0, 1, 59, 60, 64, 99])
def test_records_missing_at_the_end_are_reported(left: int) -> None:
    report = check(LOG.rows[:left])

    assert fault_positions(report) == [(FaultKind.RECORD_MISSING, left, 99)]
    assert "the checkpoint of 100 records covers it" in report.sentences()[1]


def test_a_truncated_log_is_detected_even_if_a_checkpoint_of_the_shorter_log_was_signed() -> None:
    report = check(LOG.rows[:90], LOG.checkpoint(90), NEW)

    assert fault_positions(report) == [(FaultKind.RECORD_MISSING, 90, 99)]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (2, 9), (10, 90), (31, 63), (98, 99), (63, 64)])
def test_two_records_with_exchanged_bytes_are_both_reported(one: int, other: int) -> None:
    first, second = LOG.rows[one], LOG.rows[other]
    log = LOG.with_row(one, header=second.header, ciphertext=second.ciphertext)

    report = check(log.with_row(other, header=first.header, ciphertext=first.ciphertext).rows)

    assert [fault.sentence() for fault in report.faults] == [
        f"record {one}: exchanged with record {other}",
        f"record {other}: exchanged with record {one}",
    ]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2), (1, 5), (2, 9), (8, 90), (3, 11), (10, 16)])
def test_two_rows_exchanged_with_their_hashes_are_both_reported(one: int, other: int) -> None:
    first, second = LOG.rows[one], LOG.rows[other]
    rows = list(LOG.rows)
    rows[one], rows[other] = replace(second, index=one), replace(first, index=other)

    report = check(rows)

    assert fault_positions(report) == [
        (FaultKind.RECORD_MISPLACED, one, one),
        (FaultKind.RECORD_MISPLACED, other, other),
    ]


def test_a_record_that_replaces_another_record_is_not_reported_as_an_exchange() -> None:
    for over, copied in ((5, 9), (9, 5)):
        log = LOG.with_row(over, header=LOG.rows[copied].header, ciphertext=LOG.rows[copied].ciphertext)
        report = check(log.with_bit(copied, "ciphertext").rows)
        assert fault_positions(report) == [(FaultKind.RECORD_ALTERED, 5, 5), (FaultKind.RECORD_ALTERED, 9, 9)]


def test_a_row_that_replaces_another_row_with_its_hashes_is_reported() -> None:
    rows = [replace(LOG.rows[39], index=36) if row.index == 36 else row for row in LOG.rows]

    assert (FaultKind.RECORD_MISPLACED, 36, 36) in fault_positions(check(rows))


def test_a_repeated_row_is_reported() -> None:
    report = check([*LOG.rows[:41], LOG.rows[40], *LOG.rows[41:]])

    assert fault_positions(report) == [(FaultKind.RECORD_MISPLACED, 40, 40)]


def test_an_inserted_record_is_reported_from_the_first_moved_record() -> None:
    rows = [*LOG.rows[:41], *LOG.rows[40:]]

    report = check([replace(row, index=index) for index, row in enumerate(rows)])

    assert fault_positions(report)[0] == (FaultKind.RECORD_MISPLACED, 41, 100)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_record_changed_with_hashes_up_to_a_level_is_located_within_the_subtree_above(level: int) -> None:
    forged, log = LOG.rewritten([37]), LOG.with_row(37, header=LOG.rewritten([37]).rows[37].header)
    log = log.with_row(37, ciphertext=forged.rows[37].ciphertext)
    for up in range(level + 1):
        home = ((37 >> up) + 1 << up) - 1
        nodes = list(log.rows[home].nodes)
        nodes[up] = forged.rows[home].nodes[up]
        log = log.with_row(home, nodes=tuple(nodes))

    report = check(log.rows)

    (fault,) = report.faults
    width = 2 << level
    assert fault.kind is FaultKind.RECORD_ALTERED_WITHIN
    assert (fault.first, fault.last) == (37 // width * width, 37 // width * width + width - 1)


def test_records_rewritten_with_matching_hashes_are_located_between_two_checkpoints() -> None:
    log = LOG.rewritten(range(30, 40))

    report = check(log.rows, *(LOG.checkpoint(size) for size in (10, 25, 40, 60, 100)))

    assert fault_positions(report) == [(FaultKind.HISTORY_REWRITTEN, 25, 39)]
    assert (report.proven, report.refuted) == ((10, 25), (40, 60, 100))


def test_records_rewritten_and_signed_again_are_detected_by_one_kept_checkpoint() -> None:
    log = LOG.rewritten(range(30, 40))

    report = check(log.rows, OLD, log.checkpoint(SIZE))

    assert fault_positions(report) == [(FaultKind.HISTORY_REWRITTEN, 0, 59)]
    assert (report.proven, report.refuted) == ((100,), (60,))


def test_two_different_checkpoints_of_one_size_are_reported() -> None:
    report = check(LOG.rows, NEW, LOG.rewritten([5]).checkpoint(SIZE))

    assert fault_positions(report) == [(FaultKind.CHECKPOINTS_DISAGREE, None, None)]


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (LOG.checkpoint(60, SigningKey("example.com/other", KEY.seed)), "signed by example.com/other"),
        (LOG.checkpoint(60, SigningKey(KEY.name, bytes(32))), "not by example.com/log"),
        (OLD.replace("\n60\n", "\n61\n"), "does not verify"),
        ("", "must end in a newline"),
    ],
    ids=["another log", "another key", "changed", "empty"],
)
def test_an_invalid_checkpoint_is_reported_with_its_number(note: str, problem: str) -> None:
    report = check(LOG.rows, NEW, note)

    assert fault_positions(report) == [(FaultKind.CHECKPOINT_REFUSED, None, None)]
    assert "checkpoint 2 is rejected" in report.sentences()[1]
    assert problem in report.sentences()[1]
    assert report.proven == (100,)


def test_a_signed_checkpoint_of_a_different_log_with_the_same_name_refutes_the_records() -> None:
    report = check(LOG.rows, honest_log(70).checkpoint(70), NEW)

    assert fault_positions(report) == [(FaultKind.HISTORY_REWRITTEN, 0, 69)]


def test_without_a_checkpoint_a_record_that_does_not_match_its_hash_is_still_reported() -> None:
    export = Export(start=0, records=LOG.with_bit(7, "ciphertext").with_bit(15, "nodes4").rows)
    report = verify(export, [], KEY.verifier())

    assert fault_positions(report) == [
        (FaultKind.CHECKPOINT_REFUSED, None, None),
        (FaultKind.RECORD_ALTERED, 7, 7),
    ]


def test_records_after_the_newest_checkpoint_are_compared_with_their_hashes_and_reported() -> None:
    assert check(LOG.rows, OLD).holds
    assert check(LOG.rows, OLD).sentences()[-1] == "no checkpoint covers the records 60 to 99 yet"
    assert fault_positions(check(LOG.with_bit(80, "header").rows, OLD)) == [(FaultKind.RECORD_ALTERED, 80, 80)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_change_of_the_rows_is_detected(data: st.DataObject) -> None:
    """Delete, repeat, exchange or overwrite rows, and check that every changed list of rows has a fault."""
    rows = list(LOG.rows)
    for _ in range(data.draw(st.integers(1, 3))):
        one, other = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(rows) - 1))
        column = data.draw(st.sampled_from(["index", "header", "ciphertext", "nodes"]))
        match data.draw(st.sampled_from(["delete", "repeat", "exchange", "copy"])):
            case "delete":
                del rows[one]
            case "repeat":
                rows.insert(one, rows[other])
            case "exchange":
                rows[one], rows[other] = rows[other], rows[one]
            case _:
                rows[one] = replace(rows[one], **{column: getattr(rows[other], column)})
    if data.draw(st.booleans()):
        rows = [replace(row, index=index) for index, row in enumerate(rows)]

    assert check(rows).holds == (rows == LOG.rows)


def test_more_than_20_faults_are_counted_instead_of_listed() -> None:
    report = check([replace(row, header=flip_bit(row.header)) if row.index % 2 else row for row in LOG.rows])

    assert len(report.faults) == 50
    assert len([line for line in report.sentences() if line.startswith("record ")]) == 20
    assert "and 30 more faults" in report.sentences()


def test_the_sentence_of_a_fault_begins_with_its_records_if_there_are_any() -> None:
    assert Fault(FaultKind.RECORD_MISSING, 3, 3, "missing").sentence() == "record 3: missing"
    assert Fault(FaultKind.EXPORT_INCOMPLETE, None, None, "detail").sentence() == "detail"


def test_an_empty_log_is_verified_against_its_checkpoint() -> None:
    empty = honest_log(0).checkpoint(0)

    assert check([], empty).holds
    assert check(LOG.rows, empty, NEW).proven == (0, 100)


def test_a_record_that_is_dated_before_the_preceding_record_is_reported_although_the_log_verifies() -> None:
    year = 365 * 86_400 * 1_000_000
    times = [130 * year, 56 * year, 56 * year + 1, 56 * year - 4 * 60 * 1_000_000]
    sealed = [seal_record(header(index, time_us=time), b"body", CUSTOMER_KEY) for index, time in enumerate(times)]
    log = append_records([(each.header, each.ciphertext) for each in sealed])

    report = check(log.rows, log.checkpoint(4))

    assert report.holds
    summary, warning = report.sentences()[:2]
    assert summary == "4 records, 0 up to 4: verified, with 1 warning"
    assert warning == (
        "warning: record 1: its time is 2025-12-18 00:00:00 UTC, but the record before it is of 2099-11-30 00:00:00 UTC: "
        "a clock was wrong"
    )


def _history_log(**changes: object) -> Log:
    """Return a log with two activations, a decision under them, and a decision of an earlier release."""
    bundle = {"family": "credit", "market": "TW", "bundle": "b" * 64}
    decision = {"market": "TW", "bundle": "b" * 64, "policy": "c" * 64}
    named = {"activation": header(0).record_id, "policy_activation": header(1).record_id}
    headers = [
        header(0, kind="BUNDLE_ACTIVATED", labels=bundle),
        header(1, kind="POLICY_ACTIVATED", labels={"policy": "c" * 64}),
        header(2, labels=decision),
        header(3, labels={**decision, **named, **changes}),
    ]
    sealed = [seal_record(each, b"body", CUSTOMER_KEY) for each in headers]
    return append_records([(each.header, each.ciphertext) for each in sealed])


def test_decisions_under_recorded_activations_and_decisions_of_earlier_releases_are_verified() -> None:
    log = _history_log()

    report = check(log.rows, log.checkpoint(4))

    assert report.holds
    assert report.activations == (
        "2 changes of bundles and policies; 1 decisions were made under a recorded activation; "
        "1 decisions of earlier releases name none"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"activation": header(9).record_id},
            "the activation of the bundle that it names is not among the records before",
        ),
        (
            {"activation": header(1).record_id},
            "the activation of the bundle that it names is not among the records before",
        ),
        (
            {"policy_activation": header(0).record_id},
            "the activation of the policy that it names is not among the records",
        ),
        ({"market": "JP"}, "the activation that it names is of a different bundle or market"),
        ({"bundle": "d" * 64}, "the activation that it names is of a different bundle or market"),
        ({"policy": "d" * 64}, "the activation that it names is of a different policy"),
    ],
)
def test_a_signed_decision_under_an_activation_that_nobody_recorded_is_a_fault(
    changes: dict[str, str], problem: str
) -> None:
    log = _history_log(**changes)

    report = check(log.rows, log.checkpoint(4))

    assert fault_positions(report) == [(FaultKind.ACTIVATION_UNRECORDED, 3, 3)]
    assert report.sentences()[1].startswith(f"record 3: {problem}")
