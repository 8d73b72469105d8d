"""Builds the messages of log records and inclusion proofs, and checks a stored record against the signed tree."""

from collections.abc import Sequence

from grounds.audit.v1 import audit_pb2 as pb
from grounds_record.export import Export, StoredRecord
from grounds_record.note import parse_verifier_key
from grounds_record.verification import verify
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch
from server.errors import RecordDamaged, TreeSizeUnknown
from server.stores.record_log.proofs import LogHead, ProofReader


def check_tree_size(size: int, head: LogHead) -> int:
    """Check that the log has at least `size` records, and return `size`.

    Raises:
        TreeSizeUnknown: The log has fewer than `size` records.
    """
    if size > head.size:
        raise TreeSizeUnknown(f"the log has {head.size} records, not {size}", size=str(head.size))
    return size


def record_message(record: StoredRecord) -> pb.StoredRecord:
    """Build the message of a stored record, without decrypting the record."""
    return pb.StoredRecord(
        index=record.index,
        header=record.header,
        ciphertext=record.ciphertext,
        nodes=record.nodes,
        columns=dict(record.columns or {}),
    )


def inclusion_message(
    record: StoredRecord, size: int, hashes: Sequence[bytes], checkpoint: str, key_rotations: Sequence[str]
) -> pb.GetInclusionProofResponse:
    """Build the message of an inclusion proof.

    Args:
        record: The stored record, whose content is encrypted.
        size: Number of records in the tree in which the record is proved.
        hashes: The hashes of the audit path, from leaf to root (RFC 6962).
        checkpoint: Signed checkpoint of a tree with at least `size` records.
        key_rotations: The signed statements of all rotations of the signing key.
    """
    return pb.GetInclusionProofResponse(
        record=record_message(record),
        tree_size=size,
        hashes=hashes,
        checkpoint=checkpoint,
        key_rotations=key_rotations,
    )


def newest_inclusion(proofs: ProofReader, record_id: str) -> pb.GetInclusionProofResponse:
    """Read a record and prove it in the tree of the newest checkpoint."""
    head, record, hashes = proofs.prove_newest_inclusion(record_id)
    return inclusion_message(record, head.size, hashes, head.checkpoint, head.key_rotations)


def verify_stored_record(proofs: ProofReader, record_id: str) -> ReplayMatch | ReplayMismatch:
    """Check a stored record against the tree of the newest checkpoint, with the verifier that auditors use.

    Raises:
        RecordUnknown: There is no such record.
    """
    try:
        head, record, _ = proofs.prove_newest_inclusion(record_id)
        proof = proofs.prove_range(record.index, record.index + 1, head.size, ())
    except RecordDamaged as error:
        return ReplayMismatch("HASH_ALTERED", "", str(error), 1)
    # Verify an export that contains only this record: record and proof must lead to the root in the signed checkpoint.
    export = Export(
        start=record.index,
        records=[record],
        before=proof.before,
        after=proof.after,
        retentions=proof.retentions,
    )
    report = verify(export, [head.checkpoint], parse_verifier_key(head.verifier_key))
    if report.holds:
        return ReplayMatch(1 + len(record.columns or {}))
    first = report.faults[0]
    return ReplayMismatch(first.kind.value, "", first.sentence(), len(report.faults))
