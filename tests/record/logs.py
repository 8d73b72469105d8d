"""A small log in its stored form, and functions that change it as an attacker with access to the database could."""

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


def header(index: int, **changes: object) -> Header:
    """Return the header of a decision."""
    found = Header(
        kind="CREDIT_DECISION",
        record_id=f"00000000-0000-0000-0000-{index:012x}",
        time_us=index,
        caller="loan-desk",
        key_id=key_id(CUSTOMER_KEY),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@dataclass
class Log:
    """The stored records of a log.

    Attributes:
        rows: The records, in the order of the log.
    """

    rows: list[StoredRecord]

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def node(self, node: Node) -> bytes:
        """Return the stored hash of a node, located independently of `merkle.stored_position`."""
        return self.rows[((node.number + 1) << node.level) - 1].nodes[node.level]

    def nodes(self, start: int, end: int) -> tuple[bytes, ...]:
        """Return the stored hashes of the nodes that cover the rows [start, end)."""
        return tuple(self.node(node) for node in covering_nodes(start, end))

    def checkpoint(self, size: int, key: SigningKey = KEY) -> str:
        """Return a signed checkpoint of the first `size` rows, computed from their stored hashes."""
        return sign_checkpoint(Checkpoint(key.name, size, Frontier(size, self.nodes(0, size)).root()), key)

    def proof(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the inclusion proof of a row."""
        return inclusion_proof(index, size, lambda wanted: {node: self.node(node) for node in wanted})

    def without(self, indexes: Sequence[int]) -> "Log":
        """Return the log without the ciphertexts of some rows, which simulates retention."""
        return Log([replace(row, ciphertext=None) if row.index in indexes else row for row in self.rows])

    def with_row(self, index: int, /, **changes: object) -> "Log":
        """Return the log with changed fields of one row."""
        return Log([replace(row, **changes) if row.index == index else row for row in self.rows])  # type: ignore[arg-type]

    def with_bit(self, index: int, column: str) -> "Log":
        """Return the log with one flipped bit in one row: in a field, or in the stored hash of a level (`nodes3`)."""
        row = self.rows[index]
        if column.startswith("nodes"):
            level = int(column.removeprefix("nodes"))
            nodes = list(row.nodes)
            nodes[level] = flip_bit(nodes[level])
            return self.with_row(index, nodes=tuple(nodes))
        return self.with_row(index, **{column: flip_bit(getattr(row, column))})

    def rewritten(self, indexes: Sequence[int]) -> "Log":
        """Return the log with different records at these indices, and with stored hashes that match them."""
        return append_records(
            [
                (other.header, other.ciphertext) if row.index in indexes else (row.header, row.ciphertext or b"")
                for row in self.rows
                for other in [seal_record(header(row.index, caller="forger"), b"forged", CUSTOMER_KEY)]
            ]
        )


def flip_bit(content: bytes) -> bytes:
    """Return bytes with a flipped bit in the middle."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def append_records(records: Sequence[tuple[bytes, bytes]]) -> Log:
    """Return the log of these headers and ciphertexts."""
    frontier, rows = Frontier(), []
    for index, (head, ciphertext) in enumerate(records):
        row = StoredRecord(index, head, ciphertext, ())
        frontier, completed = frontier.append(row.compute_leaf_hash() or b"")
        assert len(completed) == completed_node_count(index)
        rows.append(replace(row, nodes=completed))
    return Log(rows)


def honest_log(size: int, removals: dict[int, tuple[int, ...]] | None = None) -> Log:
    """Return a log that nobody changed. `removals` maps the index of each retention record to the indices that it lists."""
    records: list[tuple[bytes, bytes]] = []
    for index in range(size):
        head = header(index)
        if removals and index in removals:
            removed = tuple(RemovedRecord(each, digest(records[each][0])) for each in removals[index])
            head = header(index, kind="RETENTION", removed=removed)
        sealed = seal_record(head, f"body {index}".encode(), CUSTOMER_KEY)
        records.append((sealed.header, sealed.ciphertext))
    return append_records(records)


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


SIZE = 100
LOG = honest_log(SIZE)
OLD, NEW = LOG.checkpoint(60), LOG.checkpoint(SIZE)


def check(rows: Sequence[StoredRecord], *checkpoints: str, **export: object) -> VerificationReport:
    """Verify rows, of which the first is the first record of the log."""
    return verify(Export(start=0, records=rows, **export), checkpoints or (OLD, NEW), KEY.verifier())  # type: ignore[arg-type]


def fault_positions(report: VerificationReport) -> list[tuple[FaultKind, int | None, int | None]]:
    """Return the kind and the range of each fault."""
    return [(fault.kind, fault.first, fault.last) for fault in report.faults]
