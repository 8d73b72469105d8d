"""What of the evidence of a churn risk can be checked where it is read, with the log's public key alone."""

import json
import math
import struct
from collections.abc import Iterator

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import bodies_pb2
from grounds.churn.v1 import churn_pb2
from grounds_client.proof import Check, name_of, of_record
from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from grounds_record.merkle import leaf_hash, verify_inclusion
from grounds_record.note import VerifierKey

RESIDUAL_MAX = 1e-9  # what the addition of contributions may leave over
OLD = "the row is in the run (not checked: an earlier release loaded it, whose record proves all rows together only)"


def churn_checks(evidence: pb.ChurnEvidence, key: VerifierKey) -> list[Check]:
    """Check everything that can be checked without a key of the log's owner.

    Args:
        evidence: As the server gave it.
        key: The log's public key, as you were given it by another way.
    """
    named = name_of(evidence.proof.record.header).replace("-", "") == evidence.run_id
    of_this = Check("the record is the one of this run", holds=named)
    return [*of_record(evidence.proof, key), of_this, *of_row(evidence), *of_risk(evidence), *of_bundle(evidence)]


def of_row(evidence: pb.ChurnEvidence) -> Iterator[Check]:
    """Check the way from the row's bytes to the root that the record's header names."""
    size, root = rows_of(evidence)
    if not root:
        yield Check(OLD, holds=not evidence.HasField("row_proof"))
        return
    proof = evidence.row_proof
    told = f"the row is number {proof.index:,} of the {size:,} whose root the record names"
    leaf = leaf_hash(evidence.row) if evidence.row else proof.leaf_hash
    try:
        verify_inclusion(proof.index, size, leaf, tuple(proof.hashes), root)
    except RecordError as error:
        yield Check(f"{told}: {error}", holds=False)
    else:
        yield Check(told, holds=True)


def rows_of(evidence: pb.ChurnEvidence) -> tuple[int, bytes]:
    """Read how many rows the run has in the market, and their root, from the header of its record; 0 and b"" where it has none."""
    try:
        labels = parse_header(evidence.proof.record.header).labels
        size, _, root = labels.get(f"rows_{evidence.customer.market.lower()}", "").partition(":")
        return (int(size), bytes.fromhex(root)) if root else (0, b"")
    except (RecordError, ValueError):
        return 0, b""


def of_risk(evidence: pb.ChurnEvidence) -> Iterator[Check]:
    """Check that the risk says what the row says, and that it adds up."""
    if not evidence.HasField("churn_risk"):
        return
    risk = evidence.churn_risk
    try:
        row = bodies_pb2.ChurnRiskRow.FromString(evidence.row)
        same = told_by(row, evidence) == told_by_risk(risk)
    except (ValueError, KeyError, TypeError, struct.error):
        same = False
    yield Check("the risk says what the row's bytes say, numbers to the bit", holds=same)
    if risk.HasField("explanation"):
        explanation = risk.explanation
        total = math.fsum([explanation.base_value, *(line.log_odds for line in explanation.contributions)])
        close = abs(total - risk.log_odds) <= RESIDUAL_MAX
        yield Check(f"the contributions add up to the log-odds within {RESIDUAL_MAX:g}", holds=close)


def told_by(row: bodies_pb2.ChurnRiskRow, evidence: pb.ChurnEvidence) -> dict[str, object]:
    """Give what a row says, in the words of a risk."""
    codes = [code for code in row.suppressions.split(",") if code]
    found: dict[str, object] = {
        "customer": (evidence.customer.market, row.customer_id),
        "status": f"CHURN_STATUS_{row.status}",
        "band": f"RISK_BAND_{row.band or 'UNSPECIFIED'}",
        "previous_band": f"RISK_BAND_{row.previous_band or 'UNSPECIFIED'}",
        "hold_out": row.hold_out,
        "suppressions": codes,
    }
    if row.status != "SCORED":
        return found
    drivers = json.loads(row.drivers)
    locale = evidence.churn_risk.drivers.locale
    return found | {
        "log_odds": row.log_odds,
        "pd": row.pd,
        "rank": row.rank,
        "since": row.band_since_us,
        "amounts": (row.value_at_risk_minor, row.expected_spend_minor),
        "decline": row.decline_pd if row.HasField("decline_pd") else None,
        "drivers": [(each["code"], each["log_odds"], each["features"], each["texts"][locale]) for each in drivers],
        "contributions": list(struct.unpack(f"<{len(row.contributions) // 8}d", row.contributions)),
    }


def told_by_risk(risk: churn_pb2.ChurnRisk) -> dict[str, object]:
    """Give what a risk says, likewise."""
    found: dict[str, object] = {
        "customer": (risk.customer.market, risk.customer.customer_id),
        "status": churn_pb2.ChurnStatus.Name(risk.status),
        "band": churn_pb2.RiskBand.Name(risk.risk_band),
        "previous_band": churn_pb2.RiskBand.Name(risk.previous_band),
        "hold_out": risk.hold_out,
        "suppressions": list(risk.suppressions),
    }
    if risk.status != churn_pb2.CHURN_STATUS_SCORED:
        return found
    amounts = (risk.value_at_risk, risk.expected_spend)
    return found | {
        "log_odds": risk.log_odds,
        "pd": risk.churn_probability,
        "rank": risk.rank,
        "since": risk.band_since_time.ToMicroseconds(),
        "amounts": tuple(each.units * 100 + each.nanos // 10**7 for each in amounts),
        "decline": risk.decline_probability if risk.HasField("decline_probability") else None,
        "drivers": [(each.code, each.log_odds, list(each.features), each.text) for each in risk.drivers.reasons],
        "contributions": [line.log_odds for line in risk.explanation.contributions],
    }


def of_bundle(evidence: pb.ChurnEvidence) -> Iterator[Check]:
    """Check that bundle and baseline are those of the run's record."""
    if evidence.HasField("bundle") and evidence.HasField("record"):
        same = evidence.bundle.files.get("baseline.json") == evidence.record.baseline_sha256
        of = evidence.bundle.model.summary.bundle_id == evidence.record.bundle_id
        yield Check("bundle and baseline are those that the record names", holds=same and of)
