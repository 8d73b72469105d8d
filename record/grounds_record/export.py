"""An export: a range of the record log for an auditor, as stored, with the hashes that prove it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grounds_record.sealed_record import SealedRecord


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record of the log, as stored. None of it is trusted.

    Attributes:
        index: In the log, from 0.
        header: The bytes of the header.
        ciphertext: None if retention removed it.
        nodes: The hashes stored with it: those of the nodes that it completes, its own leaf hash first
            (`merkle.Frontier.append`).
        columns: The columns by which it is found (`header_columns`); None if they were not exported.
    """

    index: int
    header: bytes
    ciphertext: bytes | None
    nodes: tuple[bytes, ...]
    columns: Mapping[str, str] | None = None

    def compute_leaf_hash(self) -> bytes | None:
        """Return the leaf hash of the bytes as they are now; None if the ciphertext was removed."""
        return None if self.ciphertext is None else SealedRecord(self.header, self.ciphertext).leaf_hash()


@dataclass(frozen=True, slots=True)
class RetentionProof:
    """A record that lists removed ciphertexts, with its proof against the newest checkpoint.

    Attributes:
        record: Of kind RETENTION.
        proof: Its `merkle.inclusion_proof` in the tree of the newest checkpoint.
    """

    record: StoredRecord
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The records from `start` on, and what is needed to verify them.

    Attributes:
        start: Index of the first record.
        records: In the order of the log; iterated once.
        before: Hashes of `covering_nodes(0, start)`: the peaks of the log before the range. Empty if start is 0.
        after: Hashes of `covering_nodes(end, size)`, where size is that of the newest checkpoint. Empty if the range
            reaches it.
        retentions: The records that account for every missing ciphertext.
        consistency: For each kept checkpoint whose size is outside the range: its size, and the
            `merkle.consistency_proof` from it to the newest checkpoint.
    """

    start: int
    records: Iterable[StoredRecord]
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    retentions: tuple[RetentionProof, ...] = ()
    consistency: tuple[tuple[int, tuple[bytes, ...]], ...] = ()
