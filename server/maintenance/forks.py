"""Accepting a fork: an operator states that records are lost, and the log goes on from the database as it is.

The acceptance is itself a record of the log, so that every auditor sees which range was given up, when and why.
"""

import datetime as dt

from grounds.audit.v1 import bodies_pb2 as pb
from server.errors import ForkRefused
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.forks import FORK_ADOPTED, LOST_FROM, LOST_TO
from server.stores.record_log.holds import OPERATOR
from server.stores.record_log.log import RecordLog


def find_lost_range(log: RecordLog) -> range:
    """Return the sizes of the log whose checkpoints `adopt_fork` gives up: from the first that may be lost to the last that was.

    Records `start - 1` up to `stop - 2` are those that may be missing or replaced.

    Raises:
        ForkRefused: The log continues everything that is remembered of it.
        StoreUnavailable: The database does not answer.
    """
    forked, continued = log.read_fork()
    if not forked:
        raise ForkRefused("the log continues everything that is remembered of it: there is no fork to adopt")
    first = max((each.checkpoint.size for each in continued), default=0) + 1
    last = max(each.checkpoint.size for each in forked)
    return range(min(first, *(each.checkpoint.size for each in forked)), last + 1)


def adopt_fork(log: RecordLog, reason: str, at: dt.datetime) -> range:
    """Record that a range of the log is lost, and accept the database as it is.

    Args:
        log: A log that contradicts its high-water mark or its anchors.
        reason: Why; recorded for the life of the log.
        at: The time of the record.

    Returns:
        The sizes that were given up, as of `find_lost_range`.

    Raises:
        ForkRefused: There is no fork.
        StoreUnavailable: The record could not be written; the log is refused as before.
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
