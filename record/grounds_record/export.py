"""A stretch of the log as an auditor gets it: records as stored, with the hashes that were stored beside them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grounds_record.sealed_record import SealedRecord


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record of the log.

    Attributes:
        index: Its place, from 0, as stored.
        header: The header's bytes, as stored.
        ciphertext: As stored; None where retention removed it.
        nodes: The hashes stored with it: those of the subtrees that it completed, its own leaf hash first
            (`merkle.Frontier.append`).
        columns: The columns by which it was found, as stored (`columns.columns_of`); None where they were not exported.
    """

    index: int
    header: bytes
    ciphertext: bytes | None
    nodes: tuple[bytes, ...]
    columns: Mapping[str, str] | None = None

    def compute_leaf_hash(self) -> bytes | None:
        """Give the leaf hash that its bytes have now; None where retention removed them."""
        return None if self.ciphertext is None else SealedRecord(self.header, self.ciphertext).leaf_hash()


@dataclass(frozen=True, slots=True)
class RetentionProof:
    """A record that says what retention removed, proved against the newest checkpoint.

    Attributes:
        record: Of kind RETENTION.
        proof: `merkle.inclusion_proof` of it in the tree of the newest checkpoint.
    """

    record: StoredRecord
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The records from `start` on, and what is needed to prove them.

    Attributes:
        start: Place of the first record, from 0.
        records: In the order of the log; read once.
        before: Hashes of `cover(0, start)`: the peaks of the log before it. Empty where start is 0.
        after: Hashes of `cover(end, size of the newest checkpoint)`. Empty where the export reaches it.
        retentions: The records that account for every ciphertext that is missing.
        consistency: For a checkpoint that an auditor keeps and whose size is not within the export: its size, and
            `merkle.consistency_proof` from it to the newest checkpoint.
    """

    start: int
    records: Iterable[StoredRecord]
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    retentions: tuple[RetentionProof, ...] = ()
    consistency: tuple[tuple[int, tuple[bytes, ...]], ...] = ()
