"""Checks of an evidence pack. The checks need the log's public key, but no server.

An evidence pack is checked from the outside in. The checkpoint must be signed with the log's key. The stored record
must hash to a leaf under the checkpoint's root. The header of the stored record must contain the id of the decision or
of the run. For a churn prediction, the row must also hash to a leaf under the root that the header contains. Finally,
the pack's own figures must add up.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from grounds.audit.v1 import audit_pb2, bodies_pb2
from grounds.churn.v1 import churn_pb2
from grounds_client.money import hundredths
from grounds_record.checkpoint import open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from grounds_record.key_history import trace_keys
from grounds_record.merkle import leaf_hash, verify_inclusion
from grounds_record.note import VerifierKey
from grounds_record.rows_root import RowsRoot, parse_rows_root
from grounds_record.sealed_record import SealedRecord

_RESIDUAL_MAX = 1e-9  # rounding error allowed in the sum of the contributions
REPORTED_KEY_TEXT = "as this server reports it, which proves only that the server agrees with itself"
_ROW_NOT_CHECKED = "the row is in the run (not checked: an earlier release loaded the run, and its record proves the rows only all together)"


@dataclass(frozen=True, slots=True)
class EvidenceCheck:
    """The result of one check.

    Attributes:
        claim: A sentence that is true if the check holds. If the check fails, a description of the error may follow.
        holds: Whether the claim is true.
    """

    claim: str
    holds: bool


def check_decision_evidence(
    evidence: audit_pb2.Evidence, key: VerifierKey, *, given: bool = True
) -> list[EvidenceCheck]:
    """Check the evidence of a credit decision.

    Args:
        evidence: The evidence as the server returned it.
        key: The log's public key.
        given: True if the key was obtained out of band; False if the server under audit reported it. A check with a
            reported key proves less, and the claim about the signature then states whose key it is.
    """
    same_record = _record_id(evidence.proof.record.header) == evidence.decision_id
    return [
        *_record_checks(evidence.proof, key, given=given),
        EvidenceCheck("the record is the one of this decision", holds=same_record),
        *_decision_checks(evidence),
    ]


def check_churn_evidence(
    evidence: audit_pb2.ChurnEvidence, key: VerifierKey, *, given: bool = True
) -> list[EvidenceCheck]:
    """Check the evidence of a churn prediction. The arguments are those of `check_decision_evidence`."""
    # A run_id is the record's UUID without hyphens.
    same_record = _record_id(evidence.proof.record.header).replace("-", "") == evidence.run_id
    return [
        *_record_checks(evidence.proof, key, given=given),
        EvidenceCheck("the record is the one of this run", holds=same_record),
        _row_check(evidence),
        *_risk_checks(evidence),
        *_bundle_checks(evidence),
    ]


def describe_key(key: VerifierKey, *, given: bool) -> str:
    """Return the key that checked a proof as text, with its source: the reader, or the server under audit."""
    source = "given by you" if given else f"{REPORTED_KEY_TEXT}; specify your own copy with --key"
    return f"{key.text()}, {source}"


def describe_signer(*, given: bool) -> str:
    """Return the words that end the claim "signed by ...": which key signed."""
    return "the log's key" if given else "the key that this server reports"


def _record_checks(
    proof: audit_pb2.GetInclusionProofResponse, key: VerifierKey, *, given: bool
) -> Iterator[EvidenceCheck]:
    """Check the path from the stored bytes to the signed root."""
    record, signer = proof.record, describe_signer(given=given)
    try:
        checkpoint = open_checkpoint(proof.checkpoint, trace_keys(key, proof.key_rotations))
    except RecordError as error:
        yield EvidenceCheck(f"the checkpoint is signed by {signer}: {error}", holds=False)
        return
    yield EvidenceCheck(f"the checkpoint of {checkpoint.size:,} records is signed by {signer}", holds=True)
    claim = f"the record with index {record.index}, counted from 0, is one of them, byte for byte as stored"
    yield _inclusion_check(claim, record.index, checkpoint.size, record_leaf(record), proof.hashes, checkpoint.root)


def record_leaf(record: audit_pb2.StoredRecord) -> bytes:
    """Return the leaf hash of a record's bytes; if the customer was erased, the ciphertext is missing, and it is as stored."""
    if record.HasField("ciphertext"):
        return SealedRecord(record.header, record.ciphertext).leaf_hash()
    return record.nodes[0] if record.nodes else b""


def _inclusion_check(
    claim: str, index: int, size: int, leaf: bytes, hashes: Iterable[bytes], root: bytes
) -> EvidenceCheck:
    """Check that a leaf is in the tree with this root."""
    try:
        verify_inclusion(index, size, leaf, tuple(hashes), root)
    except RecordError as error:
        return EvidenceCheck(f"{claim}: {error}", holds=False)
    return EvidenceCheck(claim, holds=True)


def _record_id(header: bytes) -> str:
    """Return the record_id in a record's header; "" if the header is malformed."""
    try:
        return parse_header(header).record_id
    except RecordError:
        return ""


def _decision_checks(evidence: audit_pb2.Evidence) -> Iterator[EvidenceCheck]:
    """Check the decrypted body of a decision against its own digests and sums."""
    if not evidence.HasField("record"):
        return
    record, assessment = evidence.record, evidence.decision.assessment
    if assessment.HasField("explanation"):
        explanation = assessment.explanation
        total = explanation.base_points + sum(line.points for line in explanation.contributions)
        yield EvidenceCheck("the points add up to the score", holds=total == assessment.model_output.score)
    if evidence.HasField("policy"):
        sha256 = hashlib.sha256(evidence.policy.content).hexdigest()
        yield EvidenceCheck("the policy file is the one that the record names", holds=sha256 == record.policy_sha256)
    yield from _bundle_checks(evidence)


def _bundle_checks(evidence: audit_pb2.Evidence | audit_pb2.ChurnEvidence) -> Iterator[EvidenceCheck]:
    """Check that the record contains the digests of this bundle and this baseline."""
    if evidence.HasField("bundle") and evidence.HasField("record"):
        same_baseline = evidence.bundle.files.get("baseline.json") == evidence.record.baseline_sha256
        same_bundle = evidence.bundle.model.summary.bundle_id == evidence.record.bundle_id
        yield EvidenceCheck("bundle and baseline are those that the record names", holds=same_baseline and same_bundle)


def _row_check(evidence: audit_pb2.ChurnEvidence) -> EvidenceCheck:
    """Check the path from the row's bytes to the root that the record's header contains."""
    rows = _rows_root(evidence)
    if rows is None:
        return EvidenceCheck(_ROW_NOT_CHECKED, holds=not evidence.HasField("row_proof"))
    proof = evidence.row_proof
    claim = (
        f"the row with index {proof.index:,}, counted from 0, is one of the {rows.size:,} whose root the record names"
    )
    leaf = leaf_hash(evidence.row) if evidence.row else proof.leaf_hash
    return _inclusion_check(claim, proof.index, rows.size, leaf, proof.hashes, rows.root)


def _rows_root(evidence: audit_pb2.ChurnEvidence) -> RowsRoot | None:
    """Return the root of the run's rows in the market, from the record's header; None if the header has no root."""
    try:
        return parse_rows_root(parse_header(evidence.proof.record.header).labels, evidence.customer.market)
    except (RecordError, ValueError):
        return None


def _risk_checks(evidence: audit_pb2.ChurnEvidence) -> Iterator[EvidenceCheck]:
    """Check that the prediction equals the content of the row, and that its contributions add up."""
    if not evidence.HasField("churn_risk"):
        return
    risk = evidence.churn_risk
    try:
        row = bodies_pb2.ChurnRiskRow.FromString(evidence.row)
        same = _row_fields(row, evidence) == _risk_fields(risk)
    except (ValueError, KeyError, TypeError, struct.error):
        same = False
    yield EvidenceCheck("the risk equals the content of the row's bytes, numbers to the bit", holds=same)
    if risk.HasField("explanation"):
        explanation = risk.explanation
        total = math.fsum([explanation.base_value, *(line.log_odds for line in explanation.contributions)])
        close = abs(total - risk.log_odds) <= _RESIDUAL_MAX
        yield EvidenceCheck(f"the contributions add up to the log-odds within {_RESIDUAL_MAX:g}", holds=close)


def _row_fields(row: bodies_pb2.ChurnRiskRow, evidence: audit_pb2.ChurnEvidence) -> dict[str, object]:
    """Return the content of a stored row under the names that `_risk_fields` uses."""
    fields: dict[str, object] = {
        "customer": (evidence.customer.market, row.customer_id),
        "status": f"CHURN_STATUS_{row.status}",
        "band": f"RISK_BAND_{row.band or 'UNSPECIFIED'}",
        "previous_band": f"RISK_BAND_{row.previous_band or 'UNSPECIFIED'}",
        "hold_out": row.hold_out,
        "suppressions": [code for code in row.suppressions.split(",") if code],
    }
    if row.status != "SCORED":
        return fields
    drivers = json.loads(row.drivers)
    locale = evidence.churn_risk.drivers.locale
    return fields | {
        "log_odds": row.log_odds,
        "pd": row.pd,
        "rank": row.rank,
        "since": row.band_since_us,
        "amounts": (row.value_at_risk_minor, row.expected_spend_minor),
        "decline": row.decline_pd if row.HasField("decline_pd") else None,
        "drivers": [(each["code"], each["log_odds"], each["features"], each["texts"][locale]) for each in drivers],
        "contributions": list(struct.unpack(f"<{len(row.contributions) // 8}d", row.contributions)),
    }


def _risk_fields(risk: churn_pb2.ChurnRisk) -> dict[str, object]:
    """Return the content of a prediction, by name, to compare with `_row_fields`."""
    fields: dict[str, object] = {
        "customer": (risk.customer.market, risk.customer.customer_id),
        "status": churn_pb2.ChurnStatus.Name(risk.status),
        "band": churn_pb2.RiskBand.Name(risk.risk_band),
        "previous_band": churn_pb2.RiskBand.Name(risk.previous_band),
        "hold_out": risk.hold_out,
        "suppressions": list(risk.suppressions),
    }
    if risk.status != churn_pb2.CHURN_STATUS_SCORED:
        return fields
    return fields | {
        "log_odds": risk.log_odds,
        "pd": risk.churn_probability,
        "rank": risk.rank,
        "since": risk.band_since_time.ToMicroseconds(),
        "amounts": (hundredths(risk.value_at_risk), hundredths(risk.expected_spend)),
        "decline": risk.decline_probability if risk.HasField("decline_probability") else None,
        "drivers": [(each.code, each.log_odds, list(each.features), each.text) for each in risk.drivers.reasons],
        "contributions": [line.log_odds for line in risk.explanation.contributions],
    }
