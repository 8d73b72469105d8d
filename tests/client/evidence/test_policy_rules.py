"""The rules of a policy are put into words from the message alone, with what each rule was given."""

import pytest

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from grounds_client import Amount
from grounds_client.evidence.policy_rules import missing_facts, rule_rows

SECTION = pb.PolicySection(
    market="DE",
    approve_max_pd=0.15,
    refer_max_pd=0.35,
    largest_amount=Amount.parse("500000EUR").to_money(),
    limits=[pb.GradeLimit(grade="A", largest_amount=Amount.parse("90000EUR").to_money())],
    features_max_age_days=100,
    hard_rules=[
        pb.HardRule(
            code="BLOCKED",
            fact="blocked",
            level="yes",
            best_decision=pb.DECISION_DECLINE,
            best_decision_if_missing=pb.DECISION_REFER,
        ),
        pb.HardRule(
            code="YOUNG",
            fact="years",
            below=2,
            best_decision=pb.DECISION_REFER,
            best_decision_if_missing=pb.DECISION_APPROVE,
        ),
    ],
    input_rules=[pb.InputRule(code="NEW_LEVEL", condition=pb.INPUT_CONDITION_UNSEEN_LEVEL)],
)
RULES = {
    "BLOCKED": ("If blocked is yes, only DECLINE is allowed; if it is missing, only REFER or DECLINE.", "yes"),
    "YOUNG": ("If years is below 2, only REFER or DECLINE is allowed; if it is missing, nothing follows.", "not given"),
    "NEW_LEVEL": ("REFER if any feature has a level that did not occur in training", ""),
    "PD_CUT_OFF": (
        "Approve up to a probability of default of 15%, refer to a person up to 35%, decline above.",
        "25.1400%",
    ),
    "GRADE_LIMIT": ("Refer an amount above 90,000.00 EUR to a person, for grade A.", "1,000.00 EUR"),
    "LARGEST_AMOUNT": ("Refer an amount above 500,000.00 EUR to a person.", "1,000.00 EUR"),
    "OF_A_LATER_RELEASE": ("", ""),
}


@pytest.fixture
def evidence() -> audit_pb2.Evidence:
    """Return the evidence of a decision with each kind of rule; the first rule did not pass."""
    found = audit_pb2.Evidence(policy=audit_pb2.PolicyEvidence(section=SECTION))
    found.request.facts["blocked"].level = "yes"
    found.decision.requested_amount.CopyFrom(Amount.parse("1000EUR").to_money())
    output = found.decision.assessment.model_output
    output.pd, output.grade = 0.2514, "A"
    for code in RULES:
        rule = pb.PolicyRule(code=code, passed=code != "BLOCKED")
        if not rule.passed:
            rule.best_decision = pb.DECISION_DECLINE
        found.decision.assessment.policy_result.rules.append(rule)
    return found


def test_each_rule_is_stated_in_words_with_what_it_was_given(evidence: audit_pb2.Evidence) -> None:
    rows = list(rule_rows(evidence))

    assert [(rule, given) for rule, given, _ in rows] == [
        (f"{words} [{code}]" if words else code, given) for code, (words, given) in RULES.items()
    ]
    assert [result for *_, result in rows] == ["allows only DECLINE", *["passed"] * 6]


def test_a_rule_may_use_a_feature_of_the_model_as_its_fact(evidence: audit_pb2.Evidence) -> None:
    feature = audit_pb2.FedFeature(feature="years", number=1.0, value=FeatureValue(number=1.0))
    evidence.record.features.append(feature)

    assert [given for rule, given, _ in rule_rows(evidence) if "[YOUNG]" in rule] == ["1"]
    assert list(missing_facts(evidence)) == []


def test_facts_that_were_not_given_are_named_with_what_follows(evidence: audit_pb2.Evidence) -> None:
    assert list(missing_facts(evidence)) == ["years (rule YOUNG asks for it; it is optional)"]
    del evidence.request.facts["blocked"]
    assert (
        next(iter(missing_facts(evidence))) == "blocked (rule BLOCKED asks for it; it was needed for more than REFER)"
    )


def test_without_the_section_the_rules_are_listed_without_words(evidence: audit_pb2.Evidence) -> None:
    evidence.policy.ClearField("section")

    assert [(rule, given) for rule, given, _ in rule_rows(evidence)] == [(code, "") for code in RULES]
    assert list(missing_facts(evidence)) == []


def test_a_grade_without_an_entry_is_always_referred(evidence: audit_pb2.Evidence) -> None:
    evidence.decision.assessment.model_output.grade = "F"
    assert "Refer every amount to a person, for grade F. [GRADE_LIMIT]" in [rule for rule, *_ in rule_rows(evidence)]
    del evidence.policy.section.limits[:]
    assert "No grade has a limit of its own. [GRADE_LIMIT]" in [rule for rule, *_ in rule_rows(evidence)]
