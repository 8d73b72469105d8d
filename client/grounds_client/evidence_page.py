"""The evidence of one decision as one page of HTML that a person can print and read; it names no address outside itself."""

from collections.abc import Iterator, Sequence

from grounds.audit.v1 import audit_pb2 as pb
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2
from grounds_client.desk import outcome_line, override_line
from grounds_client.evidence_parts import Told, fed, model_part, page, policy_part, proof, read_for, replayed
from grounds_client.markup import Markup, bullets, facts, section, table, tag
from grounds_client.proof import Check
from grounds_client.show import money, score_line, short
from grounds_client.values import value_text
from grounds_client.verdicts import COMPARED
from grounds_client.waterfall import waterfall

UTC = "%Y-%m-%d %H:%M:%S.%f UTC"


def evidence_page(evidence: pb.Evidence, replay: pb.ReplayDecisionResponse, checks: Sequence[Check], told: Told) -> str:
    """Write the page.

    Args:
        evidence: As the server gave it.
        replay: The verdicts of its replay.
        checks: What was checked on this side.
        told: Why it was read, and with which key the proof was checked.
    """
    title = f"Evidence of credit decision {evidence.decision_id}"
    return page(title, parts(evidence, replay, checks, told))


def parts(
    evidence: pb.Evidence, replay: pb.ReplayDecisionResponse, checks: Sequence[Check], told: Told
) -> Iterator[Markup]:
    """Give the parts of the page in the order in which an auditor reads."""
    yield read_for(evidence.reading, told.purpose)
    if evidence.HasField("record"):
        yield summary(evidence.decision)
        yield section("Who asked", facts(asked(evidence)))
        yield known(evidence)
        yield decided(evidence)
        yield reasons(evidence.decision.assessment.reasons)
        yield section("What people decided otherwise, and what became of it", since(evidence))
    else:
        yield tag("p", "What was recorded was erased. Its proof stays.")
    yield section("Does it replay?", replayed(replay, COMPARED))
    yield proof(evidence, checks, told.key)
    if evidence.HasField("record"):
        yield model_part(evidence)
        yield policy_part(evidence)


def since(evidence: pb.Evidence) -> Markup:
    """List overrides and outcomes."""
    lines = [*map(override_line, evidence.overrides), *map(outcome_line, evidence.outcomes)]
    return bullets(lines) if lines else tag("p", "Nothing is recorded.")


def summary(decision: credit_pb2.CreditDecision) -> Markup:
    """Give the outcome in a line."""
    name = short(credit_pb2.Decision.Name(decision.decision), "DECISION_")
    told = (
        f" {money(decision.requested_amount)} for customer {decision.customer.market} {decision.customer.customer_id}"
    )
    return tag("p", tag("span", name, class_="outcome"), told, Markup("<br>"), score_line(decision.assessment))


def asked(evidence: pb.Evidence) -> Iterator[tuple[str, str | None]]:
    """Give who asked, for what and when."""
    request, record, ref = evidence.request, evidence.record, evidence.decision.record_ref
    yield "system that asked", record.caller
    yield "request_id", ref.request_id
    yield "customer", f"{request.customer.market} {request.customer.customer_id}"
    yield "requested amount", money(request.requested_amount)
    yield "product", request.product or "STANDARD"
    yield "language of the reasons", evidence.decision.assessment.reasons.locale
    yield "received", record.receive_time.ToDatetime().strftime(UTC)
    yield "decided", record.decide_time.ToDatetime().strftime(UTC)
    yield "decision holds until", evidence.decision.expire_time.ToDatetime().strftime(UTC)
    yield "bytes received, bytes sent", f"{len(record.request):,} and {len(record.answer):,}, both kept"
    yield "SHA-256 of the question", ref.content_sha256
    runtime = record.runtime
    yield "computed by", f"Grounds {runtime.grounds}, ONNX Runtime {runtime.onnxruntime}, Python {runtime.python}"
    yield "on", runtime.platform


def known(evidence: pb.Evidence) -> Markup:
    """Give the features as fed."""
    given = [f"{name} = {value_text(value)}" for name, value in sorted(evidence.request.facts.items())]
    warned = [f"{each.code} {each.feature}" for each in evidence.decision.assessment.warnings]
    return section(
        "What was known",
        fed(evidence.record.features, evidence.bundle.model.features),
        tag("p", f"Facts for the rules of the policy: {'; '.join(given)}") if given else None,
        tag("p", f"Warnings: {'; '.join(warned)}") if warned else None,
    )


def decided(evidence: pb.Evidence) -> Markup:
    """Give the score as it adds up, and what the policy made of it."""
    assessment = evidence.decision.assessment
    result, drawn, advice = assessment.policy_result, None, None
    if assessment.HasField("explanation"):
        drawn = waterfall(assessment, features_of(evidence))
        recommendation = assessment.recommendation
        name = short(credit_pb2.Decision.Name(recommendation.decision), "DECISION_")
        advice = tag(
            "p",
            f"The probability of default alone suggests {name}: approve up to {recommendation.approve_max_pd:.2%}, refer up "
            f"to {recommendation.refer_max_pd:.2%}. Expected loss {money(result.expected_loss)}; approvable without a person "
            f"{money(result.approvable_amount)}. What floating-point addition left over: {evidence.record.numbers.residual!r}.",
        )
    rules = [
        (
            rule.code,
            "passed" if rule.passed else f"at best {short(credit_pb2.Decision.Name(rule.best_decision), 'DECISION_')}",
        )
        for rule in result.rules
    ]
    return section("How it was decided", drawn, advice, table(("rule of the policy", "result"), rules))


def reasons(told: explain_pb2.Reasons) -> Markup:
    """Give the reasons as they were rendered."""
    lines = []
    for reason in told.reasons:
        points = f" ({reason.points:+d} points)" if reason.HasField("points") else ""
        lines.append(f"{reason.text}{points} [{reason.code}]")
    return section("Reasons, as told", bullets(lines, "ol") if lines else tag("p", "Nothing spoke against it."))


def features_of(evidence: pb.Evidence) -> dict[str, model_pb2.Feature]:
    """Give what the bundle says of its features."""
    return {feature.name: feature for feature in evidence.bundle.model.features}
