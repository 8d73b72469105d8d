"""A small log as a store has it, and the changes that an attacker with access to the database could make."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grounds_record.checkpoint import Checkpoint, sign_checkpoint
from grounds_record.customer_keys import key_id
from grounds_record.export import Export, StoredRecord
from grounds_record.header import Header, RemovedRecord
from grounds_record.merkle import Frontier, Node, completed_node_count, covering_nodes, inclusion_proof
from grounds_record.note import SigningKey
from grounds_record.sealed_record import seal_record
from grounds_record.verification import verify
from grounds_record.verification_report import FaultKind, VerificationReport

KEY = SigningKey("example.com/log", bytes(range(32)))
CUSTOMER_KEY = bytes(range(1, 33))


def header(place: int, **changes: object) -> Header:
    """Return the header of a decision."""
    found = Header(
        kind="CREDIT_DECISION",
        record_id=f"00000000-0000-0000-0000-{place:012x}",
        time_us=place,
        caller="loan-desk",
        key_id=key_id(CUSTOMER_KEY),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@dataclass
class Log:
    """Rows of records, as stored.

    Attributes:
        rows: In order.
    """

    rows: list[StoredRecord]

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def node(self, node: Node) -> bytes:
        """Read a stored hash, straight from the definition of where it is."""
        return self.rows[((node.number + 1) << node.level) - 1].nodes[node.level]

    def nodes(self, start: int, end: int) -> tuple[bytes, ...]:
        """Read the stored hashes of a cover."""
        return tuple(self.node(node) for node in covering_nodes(start, end))

    def checkpoint(self, size: int, key: SigningKey = KEY) -> str:
        """Sign the first `size` rows, as their stored hashes are now."""
        return sign_checkpoint(Checkpoint(key.name, size, Frontier(size, self.nodes(0, size)).root()), key)

    def proof(self, place: int, size: int) -> tuple[bytes, ...]:
        """Prove a row."""
        return inclusion_proof(place, size, lambda wanted: {node: self.node(node) for node in wanted})

    def without(self, places: Sequence[int]) -> "Log":
        """Remove ciphertexts, as retention does."""
        return Log([replace(row, ciphertext=None) if row.index in places else row for row in self.rows])

    def with_row(self, place: int, **changes: object) -> "Log":
        """Change one row."""
        return Log([replace(row, **changes) if row.index == place else row for row in self.rows])  # type: ignore[arg-type]

    def with_bit(self, place: int, column: str) -> "Log":
        """Flip one bit of one column of one row."""
        row = self.rows[place]
        if column.startswith("nodes"):
            level = int(column.removeprefix("nodes"))
            nodes = list(row.nodes)
            nodes[level] = flip_bit(nodes[level])
            return self.with_row(place, nodes=tuple(nodes))
        return self.with_row(place, **{column: flip_bit(getattr(row, column))})

    def rewritten(self, places: Sequence[int]) -> "Log":
        """Write other records at these indices, and all stored hashes to match."""
        return append_records(
            [
                (other.header, other.ciphertext) if row.index in places else (row.header, row.ciphertext or b"")
                for row in self.rows
                for other in [seal_record(header(row.index, caller="forger"), b"forged", CUSTOMER_KEY)]
            ]
        )


def flip_bit(content: bytes) -> bytes:
    """Flip a bit in the middle."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def append_records(records: Sequence[tuple[bytes, bytes]]) -> Log:
    """Append records, each with the hashes that it completes."""
    frontier, rows = Frontier(), []
    for place, (head, ciphertext) in enumerate(records):
        row = StoredRecord(place, head, ciphertext, ())
        frontier, completed = frontier.append(row.compute_leaf_hash() or b"")
        assert len(completed) == completed_node_count(place)
        rows.append(replace(row, nodes=completed))
    return Log(rows)


def honest_log(size: int, removals: dict[int, tuple[int, ...]] | None = None) -> Log:
    """Write an honest log; `removals` lists the removed indices of each retention record, by its index."""
    records: list[tuple[bytes, bytes]] = []
    for place in range(size):
        head = header(place)
        if removals and place in removals:
            removed = tuple(RemovedRecord(index, digest(records[index][0])) for index in removals[place])
            head = header(place, kind="RETENTION", removed=removed)
        sealed = seal_record(head, f"body {place}".encode(), CUSTOMER_KEY)
        records.append((sealed.header, sealed.ciphertext))
    return append_records(records)


def digest(content: bytes) -> str:
    """Return SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


SIZE = 100
LOG = honest_log(SIZE)
OLD, NEW = LOG.checkpoint(60), LOG.checkpoint(SIZE)


def check(rows: Sequence[StoredRecord], *checkpoints: str, **export: object) -> VerificationReport:
    """Verify rows from the beginning of the log."""
    return verify(Export(start=0, records=rows, **export), checkpoints or (OLD, NEW), KEY.verifier())  # type: ignore[arg-type]


def places(report: VerificationReport) -> list[tuple[FaultKind, int | None, int | None]]:
    """Return the kind and the range of each fault."""
    return [(fault.kind, fault.first, fault.last) for fault in report.faults]
