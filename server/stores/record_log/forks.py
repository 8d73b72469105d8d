"""Forks: a log that does not continue what was remembered of it.

A log with an append-only history has one root for every size. So a remembered checkpoint (the high-water mark, an anchor, or
what this process last saw) is compared with the root that the database computes for its size: RFC 6962 consistency, read
from the stored hashes instead of a proof. A database that is shorter than a checkpoint, or has another root at its size,
has lost records or has others in their place.
"""

from collections.abc import Iterable
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
LOST_FROM, LOST_TO = "lost_from", "lost_to"  # its labels: the range of sizes whose checkpoints may contradict the log


@dataclass(frozen=True, slots=True)
class RememberedCheckpoint:
    """A checkpoint of this log from outside the database.

    Attributes:
        source: Where it was found, for the operator.
    """

    source: str
    checkpoint: Checkpoint


def fork_problem(connection: Connection, frontier: Frontier, remembered: RememberedCheckpoint) -> str:
    """Return how the database contradicts a checkpoint, with both sizes and roots; "" where it continues it.

    Args:
        connection: Reads the hashes of the database.
        frontier: The tree of the database.
        remembered: The checkpoint.
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
    there = f"root {root.hex()}" if root else "hashes that cannot be read"
    return (
        f"the log has {frontier.size} records and, at size {known.size}, {there}, but {remembered.source} has {known.size} records "
        f"with root {known.root.hex()}: at least one of the records before {known.size} is another one"
    )


def _root_at_size(connection: Connection, frontier: Frontier, size: int) -> bytes:
    """Return the root over the first `size` records of a larger tree; b"" where its hashes cannot be read."""
    if size == frontier.size:
        return frontier.root()
    # Complete subtrees never change, so the peaks of the larger tree are most of what the smaller one needs.
    peaks = dict(zip(covering_nodes(0, frontier.size), frontier.peaks, strict=True))
    try:
        nodes = covering_nodes(0, size)
        hashes = TreeHashReader(connection, known=peaks)(nodes)
    except (KeyError, RecordDamaged):
        return b""
    return Frontier(size, tuple(hashes[node] for node in nodes)).root()


def adopted_ranges(connection: Connection) -> list[range]:
    """Return the ranges of sizes whose checkpoints an operator has given up by `adopt-fork`."""
    rows = connection.execute(select(RECORDS.c.header).where(RECORDS.c.kind == FORK_ADOPTED)).all()
    labels = [parse_header(as_bytes(row.header)).labels for row in rows]
    return [range(int(each[LOST_FROM]), int(each[LOST_TO]) + 1) for each in labels]


def fork_problems(
    connection: Connection, frontier: Frontier, remembered: Iterable[RememberedCheckpoint]
) -> list[tuple[RememberedCheckpoint, str]]:
    """Return every checkpoint that the database contradicts, with the contradiction; adopted forks left out."""
    found = [(each, problem) for each in remembered if (problem := fork_problem(connection, frontier, each))]
    adopted = adopted_ranges(connection) if found else []
    return [(each, problem) for each, problem in found if not any(each.checkpoint.size in lost for lost in adopted)]
