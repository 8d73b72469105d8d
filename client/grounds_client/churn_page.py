"""The evidence of one customer's churn risk as one page of HTML that a person can print and read."""

from collections.abc import Iterator, Sequence

from grounds.audit.v1 import audit_pb2 as pb
from grounds.churn.v1 import churn_pb2
from grounds_client.evidence_parts import Told, fed, model_part, page, proof, read_for, replayed
from grounds_client.markup import Markup, bullets, facts, section, tag
from grounds_client.proof import Check
from grounds_client.show import money, short
from grounds_client.show_churn import action, band_name
from grounds_client.verdicts import OF_RISK
from grounds_client.waterfall import risk_waterfall

UTC = "%Y-%m-%d %H:%M:%S UTC"


def churn_page(
    evidence: pb.ChurnEvidence, replay: pb.ReplayChurnRiskResponse, checks: Sequence[Check], told: Told
) -> str:
    """Write the page; arguments as of `evidence_page`."""
    customer = evidence.customer
    title = f"Evidence of the churn risk of customer {customer.market} {customer.customer_id}"
    return page(title, parts(evidence, replay, checks, told))


def parts(
    evidence: pb.ChurnEvidence, replay: pb.ReplayChurnRiskResponse, checks: Sequence[Check], told: Told
) -> Iterator[Markup]:
    """Give the parts of the page in the order in which an auditor reads."""
    risk = evidence.churn_risk
    yield read_for(evidence.reading, told.purpose)
    if evidence.HasField("churn_risk"):
        yield summary(risk)
    else:
        yield tag("p", "The customer was erased from this run. The proofs stay.")
    yield section("The run", facts(run_facts(evidence)))
    if risk.status == churn_pb2.CHURN_STATUS_SCORED:
        drivers = [f"{each.text} [{each.code}]" for each in risk.drivers.reasons]
        none = tag("p", "Nothing pushed toward leaving.")
        yield section("What pushed toward leaving, as told", bullets(drivers, "ol") if drivers else none)
        yield section("What was known", fed(evidence.features, evidence.bundle.model.features))
        yield section("How it adds up", *sums(evidence))
    yield section("Does it replay?", replayed(replay, OF_RISK))
    yield proof(evidence, checks, told.key)
    if evidence.HasField("row_proof"):
        yield section("Is it the row that was loaded?", facts(row_facts(evidence)))
    yield model_part(evidence)


def summary(risk: churn_pb2.ChurnRisk) -> Markup:
    """Give band and probability in a line, or why there is none."""
    who = f" customer {risk.customer.market} {risk.customer.customer_id}; {action(risk)}"
    if risk.status != churn_pb2.CHURN_STATUS_SCORED:
        name = short(churn_pb2.ChurnStatus.Name(risk.status), "CHURN_STATUS_")
        return tag("p", tag("span", name, class_="outcome"), who, Markup("<br>"), "no score")
    figures = (
        f"probability of leaving {risk.churn_probability:.2%}, rank {risk.rank:,}, at stake {money(risk.value_at_risk)} "
        f"of {money(risk.expected_spend)} expected"
    )
    return tag("p", tag("span", band_name(risk.risk_band), class_="outcome"), who, Markup("<br>"), figures)


def run_facts(evidence: pb.ChurnEvidence) -> Iterator[tuple[str, str | None]]:
    """Give what the run is."""
    run, risk = evidence.run, evidence.churn_risk
    yield "run", run.run_id
    yield "market", run.market
    yield "customers", f"{run.customer_count:,}"
    yield "as of", run.as_of_time.ToDatetime().strftime(UTC)
    yield "holds until", run.valid_until_time.ToDatetime().strftime(UTC)
    if evidence.HasField("record"):
        yield "loaded", evidence.record.load_time.ToDatetime().strftime(UTC)
    yield "speaks of the days after it", str(run.horizon_days)
    yield "compared with run", run.previous_run_id
    yield "campaign of its hold-out", run.campaign
    if risk.HasField("band_since_time"):
        yield "band since", risk.band_since_time.ToDatetime().strftime(UTC)
        yield "band before", band_name(risk.previous_band) if risk.previous_band else None
    if risk.HasField("decline_probability"):
        yield "probability that the spend declines", f"{risk.decline_probability:.2%}"
    yield "bundle", run.bundle_id


def sums(evidence: pb.ChurnEvidence) -> Iterator[Markup]:
    """Give the log-odds as they add up, and the probability that they mean."""
    risk = evidence.churn_risk
    described = {feature.name: feature for feature in evidence.bundle.model.features}
    yield risk_waterfall(risk.explanation, risk.log_odds, described)
    yield tag(
        "p",
        f"The probability is 1 / (1 + exp(-log-odds)) = {risk.churn_probability!r}. Figures of the table are rounded to six "
        f"places. What floating-point addition left over: {risk.explanation.residual!r}.",
    )


def row_facts(evidence: pb.ChurnEvidence) -> Iterator[tuple[str, str | None]]:
    """Give the proof of the row."""
    found = evidence.row_proof
    yield "leaf hash of the row", found.leaf_hash.hex()
    yield "place among the rows, by leaf hash", f"{found.index:,} of {found.size:,}"
    yield "hashes up to the root", str(len(found.hashes))
    yield "the row, byte for byte", evidence.row.hex() or None
