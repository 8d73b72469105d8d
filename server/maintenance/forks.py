"""Accepts a fork: an operator states that records are lost, and the log continues from the present database.

A fork is a database that contradicts a checkpoint stored outside the database, because records are missing or were
replaced. Accepting it appends a record that states which range was given up, when and why, so that every auditor can
see the loss.
"""

import datetime as dt

from grounds.audit.v1 import bodies_pb2 as pb
from server.errors import ForkRefused
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.forks import FORK_ADOPTED, LOST_FROM, LOST_TO
from server.stores.record_log.holds import OPERATOR
from server.stores.record_log.log import RecordLog


def find_lost_range(log: RecordLog) -> range:
    """Return the range of tree sizes whose checkpoints `adopt_fork` gives up.

    The range starts one above the largest checkpoint with which the database is consistent, or at the smallest
    checkpoint that the database contradicts if that is smaller. The last size in the range is that of the largest
    checkpoint that the database contradicts. The records that may be missing or replaced have the indexes `start - 1`
    to `stop - 2`.

    Raises:
        ForkRefused: The database is consistent with the high-water mark and with every anchor.
        StoreUnavailable: The database does not respond.
    """
    forked, continued = log.read_fork()
    if not forked:
        raise ForkRefused(
            "there is no fork to adopt: the database is consistent with the high-water mark and with every anchor"
        )
    first = max((each.checkpoint.size for each in continued), default=0) + 1
    last = max(each.checkpoint.size for each in forked)
    return range(min(first, *(each.checkpoint.size for each in forked)), last + 1)


def adopt_fork(log: RecordLog, reason: str, at: dt.datetime) -> range:
    """Record that a range of the log is lost, and accept the present database.

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
    lost = find_lost_range(log)
    log.adopt(
        LogEntry(
            kind=FORK_ADOPTED,
            record_id=new_record_id(at),
            time=at,
            caller=OPERATOR,
            body=pb.ForkAdoptionRecord(reason=reason).SerializeToString(deterministic=True),
            labels={LOST_FROM: str(lost.start), LOST_TO: str(lost.stop - 1)},
        )
    )
    return lost
