"""Records and sizes of the log as the contract says them; and whether a record still stands in the signed tree."""

from collections.abc import Sequence

from grounds.audit.v1 import audit_pb2 as pb
from grounds_record.export import Export, StoredRecord
from grounds_record.note import parse_verifier_key
from grounds_record.verify import verify
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch
from server.errors import RecordDamaged, TreeSizeUnknown
from server.stores.record_log.proofs import LogHead, ProofReader


def size_of(size: int, head: LogHead) -> int:
    """Refuse a size that the log has not reached."""
    if size > head.size:
        raise TreeSizeUnknown(f"the log has {head.size} records, not {size}", size=str(head.size))
    return size


def record_message(record: StoredRecord) -> pb.StoredRecord:
    """Write a record as stored."""
    return pb.StoredRecord(
        index=record.index,
        header=record.header,
        ciphertext=record.ciphertext,
        nodes=record.nodes,
        columns=dict(record.columns or {}),
    )


def inclusion_message(
    record: StoredRecord, size: int, hashes: Sequence[bytes], checkpoint: str
) -> pb.GetInclusionProofResponse:
    """Write that a record is in the tree of a checkpoint."""
    return pb.GetInclusionProofResponse(
        record=record_message(record), tree_size=size, hashes=hashes, checkpoint=checkpoint
    )


def newest_inclusion(proofs: ProofReader, record_id: str) -> pb.GetInclusionProofResponse:
    """Prove a record in the tree of the newest checkpoint."""
    head, record, hashes = proofs.prove_newest_inclusion(record_id)
    return inclusion_message(record, head.size, hashes, head.checkpoint)


def verified(proofs: ProofReader, record_id: str) -> ReplayMatch | ReplayMismatch:
    """Check the stored record against the tree that the newest checkpoint signs, as `client verify` does."""
    try:
        head, record, _ = proofs.prove_newest_inclusion(record_id)
        proof = proofs.prove_range(record.index, record.index + 1, head.size, ())
    except RecordDamaged as error:
        return ReplayMismatch("HASH_ALTERED", "", str(error), 1)
    export = Export(
        start=record.index,
        records=[record],
        before=proof.before,
        after=proof.after,
        retentions=proof.retentions,
    )
    verdict = verify(export, [head.checkpoint], parse_verifier_key(head.verifier_key))
    if verdict.holds:
        return ReplayMatch(1 + len(record.columns or {}))
    first = verdict.faults[0]
    return ReplayMismatch(first.kind.value, "", first.sentence(), len(verdict.faults))
