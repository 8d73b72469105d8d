"""An export: a range of the record log as stored, with the hashes by which an auditor verifies it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grounds_record.sealed_record import SealedRecord


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record of the log, as stored. No field is trusted.

    Attributes:
        index: Index of the record in the log, from 0.
        header: The bytes of the header.
        ciphertext: The encrypted body; None if retention removed it.
        nodes: The tree hashes that are stored with the record. They are the hashes of the nodes that the record completes,
            beginning with its own leaf hash (`merkle.Frontier.append`).
        columns: Database columns that repeat parts of the header, by name (`header_columns`); None if they were not exported.
    """

    index: int
    header: bytes
    ciphertext: bytes | None
    nodes: tuple[bytes, ...]
    columns: Mapping[str, str] | None = None

    def compute_leaf_hash(self) -> bytes | None:
        """Return the leaf hash computed from header and ciphertext; None if the ciphertext was removed."""
        return None if self.ciphertext is None else SealedRecord(self.header, self.ciphertext).leaf_hash()


@dataclass(frozen=True, slots=True)
class RetentionProof:
    """A retention record, which lists removed ciphertexts, with its inclusion proof against the newest checkpoint.

    Attributes:
        record: The record, of kind RETENTION.
        proof: The `merkle.inclusion_proof` of the record in the tree of the newest checkpoint.
    """

    record: StoredRecord
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Consecutive records of the log, and the hashes that are needed to verify them.

    Attributes:
        start: Index of the first record.
        records: The records in the order of the log. They are iterated only once.
        before: Hashes of `merkle.covering_nodes(0, start)`, which cover the records before the range. Empty if `start` is 0.
        after: Hashes of `merkle.covering_nodes(end, size)`, which cover the records after the range. `end` is the index after
            the last record, and `size` is the size of the newest checkpoint. Empty if the range reaches the end of the log.
        retentions: The retention records that account for every missing ciphertext of the range.
        consistency: One pair for each kept checkpoint whose size is outside the range: the size of the checkpoint, and the
            `merkle.consistency_proof` between this checkpoint and the newest one.
        key_rotations: The statements of all rotations of the signing key (`key_history`).
    """

    start: int
    records: Iterable[StoredRecord]
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    retentions: tuple[RetentionProof, ...] = ()
    consistency: tuple[tuple[int, tuple[bytes, ...]], ...] = ()
    key_rotations: tuple[str, ...] = ()
