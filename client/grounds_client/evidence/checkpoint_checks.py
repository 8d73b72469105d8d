"""Checks of the newest checkpoint of a log, alone and against checkpoints that a reader saved earlier."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from grounds.audit.v1 import audit_pb2
from grounds_client.evidence.checks import EvidenceCheck, describe_signer
from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import ProofInvalid, RecordError
from grounds_record.key_history import trace_keys
from grounds_record.merkle import verify_consistency
from grounds_record.note import VerifierKey


class ConsistencySource(Protocol):
    """A server that proves that its log only grew; see `Client`."""

    def get_consistency_proof(self, old_size: int, *, new_size: int = 0) -> audit_pb2.GetConsistencyProofResponse:
        """Return the proof that the tree of `new_size` records extends the tree of `old_size` records."""


def check_checkpoints(
    source: ConsistencySource,
    head: audit_pb2.GetCheckpointResponse,
    saved_notes: Sequence[str],
    key: VerifierKey,
    *,
    given: bool,
) -> Iterator[EvidenceCheck]:
    """Yield the checks: the signature of each checkpoint, and that the newest one extends each saved one.

    A saved checkpoint that the newest one does not extend proves that a record before it was changed, moved or removed, or
    that the server shows another log.

    Args:
        source: The server, which is asked for the proofs.
        head: The newest checkpoint, as the server returned it after the saved ones were made.
        saved_notes: Checkpoints that the reader saved, as signed notes.
        key: The public key that checks the signatures.
        given: Whether the reader has the key from a source other than the server.

    Raises:
        CallFailed: The server does not answer.
    """
    signer = describe_signer(given=given)
    newest, check = _open(head, head.checkpoint, "the newest checkpoint", key, signer)
    yield check
    for note in saved_notes:
        saved, check = _open(head, note, "the checkpoint that you saved", key, signer)
        yield check
        if newest is not None and saved is not None:
            yield _check_growth(source, saved, newest)


def _open(
    head: audit_pb2.GetCheckpointResponse, note: str, name: str, key: VerifierKey, signer: str
) -> tuple[Checkpoint | None, EvidenceCheck]:
    """Verify the signature of a checkpoint; return the checkpoint, or None if it is invalid, and the check."""
    try:
        # A rotation of the server counts only as far as signatures connect it with the given key.
        found = open_checkpoint(note, trace_keys(key, head.key_rotations))
    except RecordError as error:
        return None, EvidenceCheck(f"{name} is signed by {signer}: {error}", holds=False)
    return found, EvidenceCheck(f"{name}, of {found.size:,} records, is signed by {signer}", holds=True)


def _check_growth(source: ConsistencySource, saved: Checkpoint, newest: Checkpoint) -> EvidenceCheck:
    """Check that the log has only grown since a checkpoint was saved."""
    claim = f"the first {saved.size:,} records are the ones that you saved the checkpoint of"
    if newest.size < saved.size:
        return EvidenceCheck(f"{claim}: the log now has only {newest.size:,} records", holds=False)
    if newest.size == saved.size:
        same = newest.root == saved.root
        return EvidenceCheck(claim if same else f"{claim}: the root is another one", holds=same)
    proof = source.get_consistency_proof(saved.size, new_size=newest.size)
    try:
        verify_consistency(saved.size, newest.size, saved.root, newest.root, tuple(proof.hashes))
    except ProofInvalid as error:
        return EvidenceCheck(f"{claim}: {error}", holds=False)
    return EvidenceCheck(claim, holds=True)
