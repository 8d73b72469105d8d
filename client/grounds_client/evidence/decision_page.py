"""The evidence of one credit decision as a page of HTML that a person can print and read."""

from collections.abc import Iterator, Sequence

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.markup import Markup, definitions, section, table, tag, text_list
from grounds_client.evidence.page import (
    baseline_paragraph,
    features_table,
    model_section,
    policy_section,
    proof_section,
    purpose_paragraph,
    render_page,
    replay_section,
)
from grounds_client.evidence.policy_rules import missing_facts, rule_rows
from grounds_client.evidence.verdicts import DECISION_MODES
from grounds_client.evidence.waterfall import credit_waterfall
from grounds_client.formatting import (
    approvable_text,
    changes_text,
    cut_offs_text,
    decision_name,
    money_text,
    outcome_text,
    override_text,
    probability_text,
    reason_line,
    score_text,
    value_text,
    warning_text,
)

_VERBS = {
    "APPROVE": "approved it",
    "APPROVE_REDUCED": "approved a smaller amount",
    "REFER": "referred it to a person",
    "DECLINE": "declined it",
    "NOT_SCORABLE": "could not score it, because values are missing",
}
_DAYS_OF_YEARS = 730  # from this age, it is given in years
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S.%f UTC"


def render_decision_page(
    evidence: audit_pb2.Evidence,
    replay: audit_pb2.ReplayDecisionResponse,
    checks: Sequence[EvidenceCheck],
    *,
    purpose: str,
    key: str,
) -> str:
    """Return the page.

    Args:
        evidence: The evidence as the server returned it.
        replay: The verdicts of the replay.
        checks: The results of the checks on the reader's side.
        purpose: Why the evidence was read, as recorded.
        key: A description of the key that checked the proof (`describe_key`).
    """
    title = f"Evidence of credit decision {evidence.decision_id}"
    return render_page(title, decision_parts(evidence, replay, checks, purpose=purpose, key=key))


def decision_parts(
    evidence: audit_pb2.Evidence,
    replay: audit_pb2.ReplayDecisionResponse,
    checks: Sequence[EvidenceCheck],
    *,
    purpose: str,
    key: str,
    comparison: Markup | None = None,
) -> Iterator[Markup]:
    """Yield the parts of the page in the order in which an auditor reads.

    The arguments are those of `render_decision_page`, and `comparison` is that of `proof_section`.
    """
    yield purpose_paragraph(evidence.reading, purpose)
    if evidence.HasField("record"):
        yield _opening(evidence)
        yield _summary(evidence.decision)
        if evidence.overrides:
            yield tag("p", override_text(evidence.overrides[-1]), class_="banner")
        yield _reasons_section(evidence.decision.assessment.reasons)
        yield from _changes_section(evidence.decision, replay)
        yield section("The request", definitions(_request_facts(evidence)))
        yield _inputs_section(evidence)
        yield _decision_section(evidence)
        yield _history_section(evidence)
    else:
        yield tag("p", "The decision's content was erased. Its proof remains.")
    yield replay_section(replay, DECISION_MODES)
    yield proof_section(evidence, checks, key, comparison)
    if evidence.HasField("record"):
        yield model_section(evidence)
        yield policy_section(evidence)


def _opening(evidence: audit_pb2.Evidence) -> Markup:
    """Return who requested what, when, and how it was decided, as sentences for a reader who knows no codes."""
    decision, time = evidence.decision, evidence.record.decide_time.ToDatetime()
    assessment = decision.assessment
    text = (
        f"On {time.day} {time:%B %Y} at {time:%H:%M} UTC, {evidence.record.caller} requested "
        f"{money_text(decision.requested_amount)} for customer {decision.customer.customer_id} in market "
        f"{decision.customer.market}. The policy {_verb(decision.decision)}."
    )
    if assessment.HasField("model_output"):
        text += f" The model expects this customer to default with a probability of {probability_text(assessment.model_output.pd)}."
    text += _age_of_data(evidence)
    if evidence.overrides:
        text += " A person has overridden the decision since:"
    return tag("p", text)


def _age_of_data(evidence: audit_pb2.Evidence) -> str:
    """Return how old the stored features were that the model received, as a sentence; "" if it received none."""
    times = [line.as_of_time.ToDatetime() for line in evidence.record.features if line.HasField("as_of_time")]
    if not times:
        return ""
    oldest = min(times)
    days = (evidence.record.decide_time.ToDatetime() - oldest).days
    age = f"{days:,} days" if days < _DAYS_OF_YEARS else f"{days / 365.25:.1f} years"
    return f" The stored values that the model used describe {oldest.day} {oldest:%B %Y}, {age} before the decision."


def _verb(decision: credit_pb2.Decision) -> str:
    """Return what the policy did, as the predicate of a sentence."""
    name = decision_name(decision)
    return _VERBS.get(name, f"decided {name}")


def _summary(decision: credit_pb2.CreditDecision) -> Markup:
    """Return the decision, the amount, the customer and the score."""
    text = f" {money_text(decision.requested_amount)} for customer {decision.customer.market} {decision.customer.customer_id}"
    name = tag("span", decision_name(decision.decision), class_="outcome")
    return tag("p", name, text, Markup("<br>"), score_text(decision.assessment))


def _request_facts(evidence: audit_pb2.Evidence) -> Iterator[tuple[str, str | None]]:
    """Yield the caller, what was requested, and when."""
    request, record, ref = evidence.request, evidence.record, evidence.decision.record_ref
    yield "caller", record.caller
    yield "request_id", ref.request_id
    yield "customer", f"{request.customer.market} {request.customer.customer_id}"
    yield "requested amount", money_text(request.requested_amount)
    yield "product", request.product or "STANDARD"
    yield "language of the reasons", evidence.decision.assessment.reasons.locale
    yield "received", record.receive_time.ToDatetime().strftime(_TIME_FORMAT)
    yield "decided", record.decide_time.ToDatetime().strftime(_TIME_FORMAT)
    yield "decision expires", evidence.decision.expire_time.ToDatetime().strftime(_TIME_FORMAT)
    yield "activation of the bundle", record.activation_id
    yield "activation of the policy", record.policy_activation_id
    yield "bytes received, bytes sent", f"{len(record.request):,} and {len(record.answer):,}, both in the record"
    yield "SHA-256 of the request", ref.content_sha256
    runtime = record.runtime
    yield "computed by", f"Grounds {runtime.grounds}, ONNX Runtime {runtime.onnxruntime}, Python {runtime.python}"
    yield "on", runtime.platform


def _inputs_section(evidence: audit_pb2.Evidence) -> Markup:
    """Return the features that the model received, the caller's facts, and the warnings."""
    facts = [f"{name} = {value_text(value)}" for name, value in sorted(evidence.request.facts.items())]
    warnings = [warning_text(each) for each in evidence.decision.assessment.warnings]
    missing = [line.feature for line in evidence.record.features if not line.HasField("value")]
    not_given = [*missing_facts(evidence), *([f"features of the model: {', '.join(missing)}"] if missing else [])]
    return section(
        "What was known",
        features_table(evidence.record.features, evidence.bundle.model.features),
        tag("p", f"Facts for the rules of the policy: {'; '.join(facts)}") if facts else None,
        tag("p", f"Not given: {'; '.join(not_given)}")
        if not_given
        else tag("p", "Not given: nothing that was asked for."),
        tag("p", f"Warnings: {'; '.join(warnings)}") if warnings else None,
    )


def _decision_section(evidence: audit_pb2.Evidence) -> Markup:
    """Return the waterfall of the score, and the result of each rule of the policy."""
    assessment = evidence.decision.assessment
    result, drawing, baseline, recommendation_text = assessment.policy_result, None, None, None
    if assessment.HasField("explanation"):
        described = {feature.name: feature for feature in evidence.bundle.model.features}
        drawing = credit_waterfall(assessment, described)
        baseline = baseline_paragraph(evidence.bundle)
        recommendation = assessment.recommendation
        recommendation_text = tag(
            "p",
            f"The probability of default alone suggests {decision_name(recommendation.decision)}: "
            f"{cut_offs_text(recommendation)}; {approvable_text(result)}. "
            f"Rounding error of the sum: {evidence.record.numbers.residual!r}.",
        )
    rules = table(("rule of the policy", "given", "result"), list(rule_rows(evidence)))
    return section("How it was decided", drawing, baseline, recommendation_text, rules)


def _reasons_section(reasons: explain_pb2.Reasons) -> Markup:
    """Return the reasons as the caller received them."""
    lines = [f"{reason_line(reason)} [{reason.code}]" for reason in reasons.reasons]
    return section("Reasons as sent", text_list(lines, "ol") if lines else tag("p", "No reason counted against it."))


def _changes_section(decision: credit_pb2.CreditDecision, replay: audit_pb2.ReplayDecisionResponse) -> Iterator[Markup]:
    """Yield what would have led to an approval, as the server computed it for the replay; nothing after an approval."""
    if decision.decision == credit_pb2.DECISION_APPROVE:
        return
    lines = [changes_text(each) for each in replay.recourse.counterfactuals]
    if lines:
        note = "Each line suffices alone. The recorded model and policy approve the application with it."
        yield section("What would have led to approval", text_list(lines), tag("p", note, class_="soft"))
    elif replay.HasField("recourse"):
        text = "No change of the values that a customer can influence would have led to approval."
        yield section("What would have led to approval", tag("p", text))
    else:
        text = "Not known: the replay did not reproduce the decision, or the application could not be scored."
        yield section("What would have led to approval", tag("p", text))


def _history_section(evidence: audit_pb2.Evidence) -> Markup:
    """Return the overrides and outcomes that were recorded after the decision."""
    lines = [*map(override_text, evidence.overrides), *map(outcome_text, evidence.outcomes)]
    return section("Overrides and outcomes", text_list(lines) if lines else tag("p", "None are recorded."))
