"""The evidence of one customer's churn prediction as a page of HTML that a person can print and read."""

from collections.abc import Iterator, Sequence

from grounds.audit.v1 import audit_pb2
from grounds.churn.v1 import churn_pb2
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.markup import Markup, definitions, section, tag, text_list
from grounds_client.evidence.page import (
    baseline_paragraph,
    features_table,
    model_section,
    proof_section,
    purpose_paragraph,
    render_page,
    replay_section,
)
from grounds_client.evidence.verdicts import CHURN_MODES
from grounds_client.evidence.waterfall import churn_waterfall
from grounds_client.formatting import (
    band_name,
    contact_text,
    enum_name,
    money_text,
    probability_text,
    reason_line,
    time_text,
)


def render_churn_page(
    evidence: audit_pb2.ChurnEvidence,
    replay: audit_pb2.ReplayChurnRiskResponse,
    checks: Sequence[EvidenceCheck],
    *,
    purpose: str,
    key: str,
) -> str:
    """Return the page. The arguments are those of `render_decision_page`."""
    customer = evidence.customer
    title = f"Evidence of the churn risk of customer {customer.market} {customer.customer_id}"
    return render_page(title, churn_parts(evidence, replay, checks, purpose=purpose, key=key))


def churn_parts(
    evidence: audit_pb2.ChurnEvidence,
    replay: audit_pb2.ReplayChurnRiskResponse,
    checks: Sequence[EvidenceCheck],
    *,
    purpose: str,
    key: str,
    comparison: Markup | None = None,
) -> Iterator[Markup]:
    """Yield the parts of the page in the order in which an auditor reads.

    The arguments are those of `render_churn_page`, and `comparison` is that of `proof_section`.
    """
    risk = evidence.churn_risk
    yield purpose_paragraph(evidence.reading, purpose)
    if evidence.HasField("churn_risk"):
        yield _summary(risk)
    else:
        yield tag("p", "The customer was erased from this run. The proofs remain.")
    yield section("The run", definitions(_run_facts(evidence)))
    if risk.status == churn_pb2.CHURN_STATUS_SCORED:
        drivers = [f"{reason_line(each)} [{each.code}]" for each in risk.drivers.reasons]
        none = tag("p", "No feature raised the risk of leaving.")
        yield section("Drivers as sent", text_list(drivers, "ol") if drivers else none)
        yield section("What was known", features_table(evidence.features, evidence.bundle.model.features))
        yield section("How it adds up", *_sum_parts(evidence))
    yield replay_section(replay, CHURN_MODES)
    yield proof_section(evidence, checks, key, comparison)
    if evidence.HasField("row_proof"):
        yield section("Is it the row that was loaded?", definitions(_row_facts(evidence)))
    yield model_section(evidence)


def _summary(risk: churn_pb2.ChurnRisk) -> Markup:
    """Return the band and the probability, or the reason why there is no score."""
    customer = f" customer {risk.customer.market} {risk.customer.customer_id}; {contact_text(risk)}"
    if risk.status != churn_pb2.CHURN_STATUS_SCORED:
        status = tag("span", enum_name(churn_pb2.ChurnStatus, risk.status), class_="outcome")
        return tag("p", status, customer, Markup("<br>"), "no score")
    figures = (
        f"probability of leaving {probability_text(risk.churn_probability)}, rank {risk.rank:,}, at stake "
        f"{money_text(risk.value_at_risk)} of {money_text(risk.expected_spend)} expected"
    )
    return tag("p", tag("span", band_name(risk.risk_band), class_="outcome"), customer, Markup("<br>"), figures)


def _run_facts(evidence: audit_pb2.ChurnEvidence) -> Iterator[tuple[str, str | None]]:
    """Yield the facts of the run, and the facts of the prediction that come from earlier runs."""
    run, risk = evidence.run, evidence.churn_risk
    yield "run", run.run_id
    yield "market", run.market
    yield "customers", f"{run.customer_count:,}"
    yield "as of", f"{time_text(run.as_of_time)} UTC"
    yield "valid until", f"{time_text(run.valid_until_time)} UTC"
    if evidence.HasField("record"):
        yield "loaded", f"{time_text(evidence.record.load_time)} UTC"
    yield "horizon in days", str(run.horizon_days)
    yield "previous run", run.previous_run_id
    yield "campaign of its hold-out", run.campaign
    if risk.HasField("band_since_time"):
        yield "band since", f"{time_text(risk.band_since_time)} UTC"
        yield "previous band", band_name(risk.previous_band) if risk.previous_band else None
    if risk.HasField("decline_probability"):
        yield "probability that the spend declines", f"{probability_text(risk.decline_probability)}"
    yield "bundle", run.bundle_id


def _sum_parts(evidence: audit_pb2.ChurnEvidence) -> Iterator[Markup]:
    """Yield the waterfall of the log-odds, and the probability that follows from them."""
    risk = evidence.churn_risk
    described = {feature.name: feature for feature in evidence.bundle.model.features}
    yield churn_waterfall(risk.explanation, risk.log_odds, described)
    if baseline := baseline_paragraph(evidence.bundle):
        yield baseline
    yield tag(
        "p",
        f"The probability is 1 / (1 + exp(-log-odds)) = {risk.churn_probability!r}. Figures of the table are rounded to six "
        f"decimals. Rounding error of the sum: {risk.explanation.residual!r}.",
    )


def _row_facts(evidence: audit_pb2.ChurnEvidence) -> Iterator[tuple[str, str | None]]:
    """Yield the proof of the row."""
    proof = evidence.row_proof
    yield "leaf hash of the row", proof.leaf_hash.hex()
    yield "index among the rows, ordered by leaf hash", f"{proof.index:,} of {proof.size:,}"
    yield "hashes up to the root", str(len(proof.hashes))
    yield "the row, byte for byte", evidence.row.hex() or None
