"""The evidence of one decision as one page of HTML that a person can print and read; it names no address outside itself."""

from collections.abc import Iterator, Sequence
from importlib import resources

from client.desk import outcome_line, override_line
from client.evidence_parts import model_part, policy_part
from client.markup import Markup, bullets, facts, section, table, tag
from client.proof import Check
from client.show import money, score_line, short
from client.values import value_text
from client.verdicts import mode_name, verdict_name, verdict_text
from client.waterfall import waterfall
from grounds.audit.v1 import audit_pb2 as pb
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2

UTC = "%Y-%m-%d %H:%M:%S.%f UTC"
OPENED = (
    "The server opened the record with the customer's key. The proof covers the sealed bytes; whoever holds the key can open "
    "them again and compare."
)


def evidence_page(
    evidence: pb.Evidence, replay: pb.ReplayDecisionResponse, checks: Sequence[Check], purpose: str, key: str
) -> str:
    """Write the page.

    Args:
        evidence: As the server gave it.
        replay: The verdicts of its replay.
        checks: What was checked on this side.
        purpose: As it was stated for the reading.
        key: With which key the proof was checked, and who gave it (proof.key_told).
    """
    title = f"Evidence of credit decision {evidence.decision_id}"
    style = resources.files("client").joinpath("evidence.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", tag("h1", title), *parts(evidence, replay, checks, purpose, key)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def parts(
    evidence: pb.Evidence, replay: pb.ReplayDecisionResponse, checks: Sequence[Check], purpose: str, key: str
) -> Iterator[Markup]:
    """Give the parts of the page in the order in which an auditor reads."""
    reading = evidence.reading
    told = f"Read for: {purpose}. The reading is itself record {reading.index} of the log, {reading.record_id}."
    yield tag("p", told, class_="soft")
    if evidence.HasField("record"):
        yield summary(evidence.decision)
        yield section("Who asked", facts(asked(evidence)))
        yield known(evidence)
        yield decided(evidence)
        yield reasons(evidence.decision.assessment.reasons)
        yield section("What people decided otherwise, and what became of it", since(evidence))
    else:
        yield tag("p", "What was recorded was erased. Its proof stays.")
    yield section("Does it replay?", replayed(replay))
    yield proof(evidence, checks, key)
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
    described = features_of(evidence)
    rows = []
    for line in evidence.record.features:
        feature = described.get(line.feature)
        source = short(explain_pb2.ValueSource.Name(line.source), "VALUE_SOURCE_")
        rows.append(
            (
                line.feature + (f": {feature.description}" if feature else ""),
                value_text(line.value, feature.unit if feature else ""),
                repr(line.number) if line.HasField("value") else "",
                "" if source == "UNSPECIFIED" else source.lower(),
                line.as_of_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if line.HasField("as_of_time") else "",
            )
        )
    given = [f"{name} = {value_text(value)}" for name, value in sorted(evidence.request.facts.items())]
    warned = [f"{each.code} {each.feature}" for each in evidence.decision.assessment.warnings]
    return section(
        "What was known",
        table(("feature", "value", "number fed", "given by", "as of (UTC)"), rows, figures=(1, 2, 4)),
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


def replayed(replay: pb.ReplayDecisionResponse) -> Markup:
    """Give the verdicts."""
    rows = [(mode_name(result), verdict_name(result), verdict_text(result)) for result in replay.results]
    runtime = replay.replay_runtime
    told = f"Replayed by Grounds {runtime.grounds}, ONNX Runtime {runtime.onnxruntime}, Python {runtime.python}, {runtime.platform}."
    return tag("div", table(("compared", "verdict", "what that means"), rows), tag("p", told, class_="soft"))


def proof(evidence: pb.Evidence, checks: Sequence[Check], key: str) -> Markup:
    """Give the proof, and what was checked here."""
    found = evidence.proof
    lines = [tag("li", check.told, class_="holds" if check.holds else "fails") for check in checks]
    return section(
        "Is it what was written then?",
        tag("ul", *lines, style="list-style: none; padding: 0"),
        facts([("place in the log", str(found.record.index)), ("checked with the public key", key)]),
        tag("p", "Checkpoint, signed by the log:"),
        tag("pre", found.checkpoint),
        tag("p", "Header of the record, as stored:"),
        tag("pre", found.record.header.decode("utf-8", "replace")),
        tag("p", OPENED, class_="soft") if evidence.HasField("record") else None,
    )


def features_of(evidence: pb.Evidence) -> dict[str, model_pb2.Feature]:
    """Give what the bundle says of its features."""
    return {feature.name: feature for feature in evidence.bundle.model.features}
