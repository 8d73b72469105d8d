"""The rules of the policy that decided, in words, with the values that they were given. Nothing is computed again."""

from collections.abc import Iterator, Mapping

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client.formatting import (
    allowed_text,
    decision_name,
    hard_rule_sentence,
    input_rule_text,
    money_text,
    percent_text,
    value_text,
)

_NOT_GIVEN = "not given"


def rule_rows(evidence: audit_pb2.Evidence) -> Iterator[tuple[str, str, str]]:
    """Yield each rule in the order in which it was applied: in words with its code, what it was given, and the result.

    The words are missing if the server no longer has the policy file, or cannot read it.
    """
    words = _words(evidence)
    for rule in evidence.decision.assessment.policy_result.rules:
        text, given = words.get(rule.code, ("", ""))
        result = "passed" if rule.passed else f"allows only {allowed_text(rule.best_decision)}"
        yield f"{text} [{rule.code}]" if text else rule.code, given, result


def missing_facts(evidence: audit_pb2.Evidence) -> Iterator[str]:
    """Yield a sentence about each fact that a rule of the policy asks for and that the request did not contain."""
    known = {line.feature for line in evidence.record.features}
    for rule in evidence.policy.section.hard_rules:
        if rule.fact not in evidence.request.facts and rule.fact not in known:
            best = decision_name(rule.best_decision_if_missing)
            consequence = "is optional" if best == "APPROVE" else f"was needed for more than {best}"
            yield f"{rule.fact} (rule {rule.code} asks for it; it {consequence})"


def _words(evidence: audit_pb2.Evidence) -> Mapping[str, tuple[str, str]]:
    """Return the rules in words, each with what it was given, by code."""
    if not evidence.policy.HasField("section"):
        return {}
    section = evidence.policy.section
    assessment, amount = evidence.decision.assessment, money_text(evidence.decision.requested_amount)
    output = assessment.model_output if assessment.HasField("model_output") else None
    approve, refer = percent_text(section.approve_max_pd), percent_text(section.refer_max_pd)
    cut_offs = f"Approve up to a probability of default of {approve}, refer to a person up to {refer}, decline above."
    built_in = {
        "PD_CUT_OFF": (cut_offs, f"{output.pd:.4%}" if output else ""),
        "GRADE_LIMIT": (_grade_limit_text(section, output.grade if output else ""), amount),
        "LARGEST_AMOUNT": (f"Refer an amount above {money_text(section.largest_amount)} to a person.", amount),
        "MISSING_INPUT": ("Do not score without the mandatory inputs.", ""),
        "FEATURES_TOO_OLD": (
            f"Refer to a person if the stored features are older than {section.features_max_age_days:,} days.",
            "",
        ),
        "REASON_AGAINST_SIGN": (
            "Refer to a person if the explanation contradicts the expected effect of a feature.",
            "",
        ),
    }
    hard = {rule.code: (hard_rule_sentence(rule), _fact_text(evidence, rule.fact)) for rule in section.hard_rules}
    inputs = {rule.code: (input_rule_text(rule), "") for rule in section.input_rules}
    return built_in | inputs | hard


def _grade_limit_text(section: credit_pb2.PolicySection, grade: str) -> str:
    """Return the limit of a grade in words."""
    if not section.limits:
        return "No grade has a limit of its own."
    for limit in section.limits:
        if limit.grade == grade:
            return f"Refer an amount above {money_text(limit.largest_amount)} to a person, for grade {grade}."
    return (
        f"Refer every amount to a person, for grade {grade}." if grade else "Refer an amount above the grade's limit."
    )


def _fact_text(evidence: audit_pb2.Evidence, fact: str) -> str:
    """Return the value of a fact, or of a feature of the model that a rule uses as a fact."""
    if fact in evidence.request.facts:
        return value_text(evidence.request.facts[fact])
    values = [line.value for line in evidence.record.features if line.feature == fact and line.HasField("value")]
    return value_text(values[0]) if values else _NOT_GIVEN
