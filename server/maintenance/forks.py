"""Accepts a fork: an operator states that records are lost, and the log continues from the present database.

A fork is a database that contradicts a checkpoint stored outside the database, because records are missing or were
replaced. Accepting it appends a record that states which range was given up, when and why, so that every auditor can
see the loss.
"""

import datetime as dt

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.checkpoint import Checkpoint
from server.errors import ForkRefused
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.forks import FORK_ADOPTED, GIVEN_UP_MAX, LOST_FROM, LOST_TO, given_up_labels
from server.stores.record_log.holds import OPERATOR
from server.stores.record_log.log import RecordLog


def find_lost_range(log: RecordLog) -> range:
    """Return the range of tree sizes in which `adopt_fork` gives up checkpoints.

    The range starts one above the largest checkpoint with which the database is consistent, or at the smallest
    checkpoint that the database contradicts if that is smaller. The last size in the range is that of the largest
    checkpoint that the database contradicts. The records that may be missing or replaced have the indexes `start - 1`
    to `stop - 2`.

    Raises:
        ForkRefused: The database is consistent with the high-water mark and with every anchor.
        StoreUnavailable: The database does not respond.
    """
    return _find_fork(log)[0]


def _find_fork(log: RecordLog) -> tuple[range, list[Checkpoint]]:
    """Return the range of `find_lost_range`, and the different checkpoints that the database contradicts."""
    forked, continued = log.read_fork()
    if not forked:
        raise ForkRefused(
            "there is no fork to adopt: the database is consistent with the high-water mark and with every anchor"
        )
    first = max((each.checkpoint.size for each in continued), default=0) + 1
    last = max(each.checkpoint.size for each in forked)
    lost = range(min(first, *(each.checkpoint.size for each in forked)), last + 1)
    contradicted = {(each.checkpoint.size, each.checkpoint.root): each.checkpoint for each in forked}
    return lost, [contradicted[identity] for identity in sorted(contradicted)]


def adopt_fork(log: RecordLog, reason: str, at: dt.datetime) -> range:
    """Record that a range of the log is lost, and accept the present database.

    The record gives up exactly the checkpoints that the database contradicts now. A later restore of an older copy
    contradicts other checkpoints, so it is detected.

    Args:
        log: A log that contradicts its high-water mark or its anchors.
        reason: The reason, which is recorded permanently.
        at: The time of the record.

    Returns:
        The range of tree sizes that was given up, as returned by `find_lost_range`.

    Raises:
        ForkRefused: The database is consistent with the high-water mark and with every anchor.
        StoreUnavailable: The record could not be written. The fork is not accepted.
    """
    lost, contradicted = _find_fork(log)
    body = pb.ForkAdoptionRecord(reason=reason).SerializeToString(deterministic=True)
    sizes = {LOST_FROM: str(lost.start), LOST_TO: str(lost.stop - 1)}
    log.adopt(
        [
            LogEntry(
                kind=FORK_ADOPTED,
                record_id=new_record_id(at),
                time=at,
                caller=OPERATOR,
                body=body,
                labels={**sizes, **given_up_labels(contradicted[start : start + GIVEN_UP_MAX])},
            )
            for start in range(0, len(contradicted), GIVEN_UP_MAX)
        ]
    )
    return lost
