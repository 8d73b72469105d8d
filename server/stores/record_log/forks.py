"""Detects forks. A fork is a log that does not extend a checkpoint that the server remembers outside the database.

In an append-only log, the root over the first n records never changes. A remembered checkpoint is the high-water mark, an anchored
checkpoint, or the last checkpoint of this process. Its root is compared with the root over the same number of records in the
database. The root in the database is computed from stored hashes. A fork is found in two cases:

- The database has fewer records than the checkpoint, so records were lost.
- The root at the size of the checkpoint is different, so records were replaced.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from grounds_record.checkpoint import Checkpoint
from grounds_record.header import parse_header
from grounds_record.merkle import Frontier, covering_nodes
from server.errors import RecordDamaged
from server.stores.record_log.entries import as_bytes
from server.stores.record_log.tree_hashes import TreeHashReader
from server.stores.tables import RECORDS

FORK_ADOPTED = "FORK_ADOPTED"  # kind of the record that accepts a fork
# Labels of a FORK_ADOPTED record: the first and the last tree size of the checkpoints that it gives up, for people.
LOST_FROM, LOST_TO = "lost_from", "lost_to"
_GIVEN_UP = "given_up_"  # labels given_up_0, given_up_1, ...: the checkpoints that the record gives up, `size:root`
GIVEN_UP_MAX = 400  # checkpoints per FORK_ADOPTED record, so that its header stays far below HEADER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class RememberedCheckpoint:
    """A checkpoint of this log that is stored outside the database.

    Attributes:
        source: File or process that the checkpoint was read from, for messages to the operator.
        checkpoint: The checkpoint, whose signature was verified.
    """

    source: str
    checkpoint: Checkpoint


def fork_problem(connection: Connection, frontier: Frontier, remembered: RememberedCheckpoint) -> str:
    """Compare the log with a remembered checkpoint.

    Args:
        connection: Connection to the log's database.
        frontier: Frontier of the log in the database.
        remembered: The checkpoint.

    Returns:
        A message with both sizes and roots if the log contradicts the checkpoint; "" if the log extends the checkpoint.
    """
    known = remembered.checkpoint
    if frontier.size < known.size:
        return (
            f"the log has {frontier.size} records with root {frontier.root().hex()}, but {remembered.source} has {known.size} "
            f"with root {known.root.hex()}: records {frontier.size} to {known.size - 1} are missing"
        )
    root = _root_at_size(connection, frontier, known.size)
    if root == known.root:
        return ""
    found = f"root {root.hex()}" if root else "unreadable hashes"
    return (
        f"the log has {frontier.size} records and, at size {known.size}, {found}, but {remembered.source} has {known.size} records "
        f"with root {known.root.hex()}: at least one of the first {known.size} records differs"
    )


def _root_at_size(connection: Connection, frontier: Frontier, size: int) -> bytes:
    """Return the root over the first `size` records of the log; b"" if a hash is missing or damaged."""
    if size == frontier.size:
        return frontier.root()
    # Complete subtrees never change, so most nodes of the smaller tree are peaks of the larger tree and need no query.
    peaks = dict(zip(covering_nodes(0, frontier.size), frontier.peaks, strict=True))
    try:
        nodes = covering_nodes(0, size)
        hashes = TreeHashReader(connection, known=peaks)(nodes)
    except (KeyError, RecordDamaged):
        return b""
    return Frontier(size, tuple(hashes[node] for node in nodes)).root()


def given_up_labels(checkpoints: Sequence[Checkpoint]) -> dict[str, str]:
    """Return the labels of a FORK_ADOPTED record that gives up these checkpoints, at most GIVEN_UP_MAX."""
    return {f"{_GIVEN_UP}{number}": _identity(each) for number, each in enumerate(checkpoints)}


def read_given_up(connection: Connection) -> frozenset[str]:
    """Return the identities of the checkpoints that an operator gave up with `adopt-fork`.

    A size alone does not identify a checkpoint: after an adopted fork, the log grows through the same sizes again, and a
    second restore can lose those records, too.
    """
    rows = connection.execute(select(RECORDS.c.header).where(RECORDS.c.kind == FORK_ADOPTED)).all()
    labels = [parse_header(as_bytes(row.header)).labels for row in rows]
    return frozenset(value for each in labels for name, value in each.items() if name.startswith(_GIVEN_UP))


def is_given_up(checkpoint: Checkpoint, given_up: frozenset[str]) -> bool:
    """Return whether a checkpoint is one of those that `read_given_up` returned."""
    return _identity(checkpoint) in given_up


def _identity(checkpoint: Checkpoint) -> str:
    """Return the size and the root of a checkpoint as the value of a label."""
    return f"{checkpoint.size}:{checkpoint.root.hex()}"


def fork_problems(
    connection: Connection, frontier: Frontier, remembered: Iterable[RememberedCheckpoint]
) -> list[tuple[RememberedCheckpoint, str]]:
    """Return the checkpoints that the log contradicts, each with the message of `fork_problem`.

    Checkpoints that an operator gave up are omitted.
    """
    found = [(each, problem) for each in remembered if (problem := fork_problem(connection, frontier, each))]
    given_up = read_given_up(connection) if found else frozenset()
    return [(each, problem) for each, problem in found if not is_given_up(each.checkpoint, given_up)]
