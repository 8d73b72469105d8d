"""What of an evidence pack can be checked where it is read, with the log's public key alone."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from grounds.audit.v1 import audit_pb2 as pb
from grounds_record.checkpoint import open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from grounds_record.merkle import verify_inclusion
from grounds_record.note import VerifierKey
from grounds_record.sealed_record import SealedRecord


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, in a sentence that is true if it holds."""

    told: str
    holds: bool


def checks(evidence: pb.Evidence, key: VerifierKey) -> list[Check]:
    """Check everything that can be checked without the customer's key.

    Args:
        evidence: As the server gave it.
        key: The log's public key, as you were given it by another way.
    """
    named = name_of(evidence.proof.record.header) == evidence.decision_id
    of_this = Check("the record is the one of this decision", holds=named)
    return [*of_record(evidence.proof, key), of_this, *of_body(evidence)]


def key_told(key: VerifierKey, *, given: bool) -> str:
    """Say with which key a proof was checked, and whose word it is that it is the log's."""
    return f"{key.text()}, {'given by you' if given else 'as this server names it; give yours with --key'}"


def of_record(proof: pb.GetInclusionProofResponse, key: VerifierKey) -> Iterator[Check]:
    """Check the way from the stored bytes to the signed root."""
    record = proof.record
    try:
        checkpoint = open_checkpoint(proof.checkpoint, key)
    except RecordError as error:
        yield Check(f"the checkpoint is signed by the log's key: {error}", holds=False)
        return
    yield Check(f"the checkpoint of {checkpoint.size:,} records is signed by the log's key", holds=True)
    leaf = record.nodes[0] if record.nodes else b""
    if record.HasField("ciphertext"):
        leaf = SealedRecord(record.header, record.ciphertext).leaf_hash()
    told = f"the record is number {record.index} of them, byte for byte as stored"
    try:
        verify_inclusion(record.index, checkpoint.size, leaf, tuple(proof.hashes), checkpoint.root)
    except RecordError as error:
        yield Check(f"{told}: {error}", holds=False)
    else:
        yield Check(told, holds=True)


def name_of(header: bytes) -> str:
    """Read a record's name; "" where the header cannot be read."""
    try:
        return parse_header(header).record_id
    except RecordError:
        return ""


def of_body(evidence: pb.Evidence) -> Iterator[Check]:
    """Check what was opened by its own digests and sums."""
    if not evidence.HasField("record"):
        return
    record, assessment = evidence.record, evidence.decision.assessment
    if assessment.HasField("explanation"):
        explanation = assessment.explanation
        total = explanation.base_points + sum(line.points for line in explanation.contributions)
        yield Check("the points add up to the score", holds=total == assessment.model_output.score)
    if evidence.HasField("policy"):
        sha256 = hashlib.sha256(evidence.policy.content).hexdigest()
        yield Check("the policy file is the one that the record names", holds=sha256 == record.policy_sha256)
    if evidence.HasField("bundle"):
        same = evidence.bundle.files.get("baseline.json") == record.baseline_sha256
        of = evidence.bundle.model.summary.bundle_id == record.bundle_id
        yield Check("bundle and baseline are those that the record names", holds=same and of)
