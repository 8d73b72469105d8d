"""Texts for messages: percentages that are not rounded, and enum values that a newer server added."""

import datetime as dt

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import audit_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.decision_page import decision_parts
from grounds_client.evidence.page import proof_section
from grounds_client.formatting import (
    allowed_text,
    band_name,
    changes_text,
    counterfactual_text,
    cut_offs_text,
    decision_name,
    enum_name,
    policy_lines,
    reason_line,
    recourse_text,
    validity_text,
)
from grounds_client.terminal.churn import show_risk, show_risks
from grounds_client.terminal.console import make_console
from grounds_client.terminal.credit import show_decision, show_simulation
from grounds_client.terminal.models import show_model

NEWER = 77  # a number that no enum of this version has


@pytest.mark.parametrize(
    ("approve", "refer", "text"),
    [
        (0.15, 0.35, "approve up to 15%, refer up to 35%"),
        (0.145, 0.3333, "approve up to 14.5%, refer up to 33.33%"),
        (0.004, 1.0, "approve up to 0.4%, refer up to 100%"),
    ],
)
def test_cut_offs_are_not_rounded_to_whole_percentages(approve: float, refer: float, text: str) -> None:
    assert cut_offs_text(credit_pb2.Recommendation(approve_max_pd=approve, refer_max_pd=refer)) == text


def test_a_value_that_a_newer_server_added_is_shown_with_its_number() -> None:
    assert decision_name(NEWER) == "UNKNOWN_77"  # type: ignore[arg-type] # a newer value
    assert band_name(NEWER) == "UNKNOWN_77"  # type: ignore[arg-type] # a newer value
    assert enum_name(model_pb2.ModelState, NEWER) == "UNKNOWN_77"
    assert "does not know" in recourse_text(credit_pb2.Recourse(status=NEWER))  # type: ignore[arg-type] # a newer value
    assert counterfactual_text(credit_pb2.Counterfactual(score=5, pd=0.1)) == ": 5 points, 10.00%"


def test_nothing_raises_an_error_at_a_value_that_a_newer_server_added() -> None:
    decision = credit_pb2.CreditDecision()
    decision.decision = decision.assessment.policy_result.decision = NEWER  # type: ignore[assignment] # a newer value
    simulation = credit_pb2.SimulateCreditResponse(known=decision.assessment, simulated=decision.assessment)
    simulation.recourse.status = NEWER  # type: ignore[assignment] # a newer value
    risk = churn_pb2.ChurnRisk(status=churn_pb2.CHURN_STATUS_SCORED, risk_band=NEWER, previous_band=NEWER)  # type: ignore[arg-type] # newer values
    model = model_pb2.Model(features=[model_pb2.Feature(name="a", monotone_sign=NEWER, source=NEWER)])  # type: ignore[arg-type] # newer values
    rule = credit_pb2.HardRule(code="R", fact="f", best_decision=NEWER)  # type: ignore[arg-type] # a newer value

    console = make_console()
    with console.capture() as capture:
        show_decision(console, decision, None)
        show_simulation(console, simulation, None)
        show_risk(console, risk)
        show_risks(console, [risk])
        show_model(console, model)
    lines = dict(policy_lines(credit_pb2.PolicySection(hard_rules=[rule])))

    assert capture.get().count("UNKNOWN_77") >= 6
    assert lines["fact f"] == ": UNKNOWN_77; if missing UNSPECIFIED [R]"


def test_the_opening_sentence_is_neutral_about_overrides_and_knows_newer_decisions() -> None:
    """An override may also confirm the policy, so the sentence does not claim that a person decided differently."""
    evidence = audit_pb2.Evidence(overrides=[credit_pb2.Override(override_id="o")])
    evidence.record.caller = "desk"
    evidence.decision.decision = NEWER  # type: ignore[assignment] # a newer value
    parts = decision_parts(evidence, audit_pb2.ReplayDecisionResponse(), [], purpose="p", key="k")

    page = "".join(parts)
    assert "The policy decided UNKNOWN_77." in page
    assert "A person has overridden the decision since" in page
    assert "differently" not in page


def test_changes_are_stated_without_the_notes_in_a_description() -> None:
    changes = [
        credit_pb2.FeatureChange(feature="PAY_0", text="Delay in September; -2 none, months: 2 → 0"),
        credit_pb2.FeatureChange(feature="PAY_AMT1", text="Paid in May, TWD: 689.5 → 3,000"),
    ]
    found = credit_pb2.Counterfactual(changes=changes, score=537, pd=0.14874)

    assert changes_text(found) == (
        "Delay in September: 2 → 0; Paid in May, TWD: 689.5 → 3,000 (537 points, probability of default 14.87%)"
    )


def _timestamp(*parts: int) -> Timestamp:
    """Return a time in UTC."""
    found = Timestamp()
    found.FromDatetime(dt.datetime(*parts, tzinfo=dt.UTC))  # type: ignore[arg-type] # year, month, day
    return found


def test_a_prediction_that_has_expired_says_so() -> None:
    as_of, until = _timestamp(2018, 1, 1), _timestamp(2018, 1, 15)
    on_time, late = (dt.datetime(2018, 1, day, tzinfo=dt.UTC) for day in (14, 16))
    assert validity_text(as_of, until, on_time) == "As of 2018-01-01 00:00:00 UTC, valid until 2018-01-15 00:00:00 UTC."
    assert validity_text(as_of, until, late) == (
        "As of 2018-01-01 00:00:00 UTC, expired at 2018-01-15 00:00:00 UTC: do not act on it, ask for a newer run."
    )


@pytest.mark.parametrize(
    ("checks", "answer"),
    [
        ([], "Not known: nothing was checked."),
        ([True, True], "Yes: every check below holds."),
        ([True, False, False], "Not shown: 2 of 3 checks below failed."),
    ],
)
def test_the_proof_answers_whether_the_record_is_unchanged_and_states_what_it_cannot_show(
    checks: list[bool], answer: str
) -> None:
    page = proof_section(audit_pb2.Evidence(), [EvidenceCheck("a claim", holds=each) for each in checks], "a key")
    assert answer in page
    assert [other for other in ("Yes:", "Not shown:", "Not known:") if other in page] == [
        answer.partition(":")[0] + ":"
    ]
    assert "a person with the log&#x27;s signing key could have written another log" in page
    assert "<code>grounds checkpoint</code>" in page


@pytest.mark.parametrize(
    ("day", "age"), [((2026, 11, 20), "10 days before"), ((2005, 10, 1), "21.2 years before"), (None, None)]
)
def test_the_opening_states_how_old_the_stored_values_are(day: tuple[int, ...] | None, age: str | None) -> None:
    evidence = audit_pb2.Evidence()
    evidence.record.decide_time.CopyFrom(_timestamp(2026, 11, 30))
    if day:
        evidence.record.features.add(feature="a", as_of_time=_timestamp(*day))
        evidence.record.features.add(feature="b", as_of_time=_timestamp(2026, 11, 29))
    page = "".join(decision_parts(evidence, audit_pb2.ReplayDecisionResponse(), [], purpose="p", key="k"))
    assert (age is None) != (f"{age} the decision" in page)
    assert ("The stored values that the model used" in page) == (age is not None)


def test_a_rule_states_every_decision_that_it_allows() -> None:
    assert allowed_text(credit_pb2.DECISION_DECLINE) == "DECLINE"
    assert allowed_text(credit_pb2.DECISION_REFER) == "REFER or DECLINE"
    assert allowed_text(credit_pb2.DECISION_APPROVE_REDUCED) == "APPROVE_REDUCED or REFER or DECLINE"


def test_a_reason_states_what_its_features_contribute_and_which_they_are_if_there_are_several() -> None:
    alone = explain_pb2.Reason(text="Late", points=-20, features=["late"])
    group = explain_pb2.Reason(text="Late", points=-20, features=["late", "later"])
    assert reason_line(alone) == "Late (-20 points)"
    three = explain_pb2.Reason(text="Late", points=-20, features=["late", "later", "latest"])
    assert reason_line(group) == "Late (-20 points: late and later together)"
    assert reason_line(three) == "Late (-20 points: late, later and latest together)"
    assert reason_line(explain_pb2.Reason(text="Buys less", log_odds=0.5, features=["a"])) == (
        "Buys less (+0.500000 log-odds)"
    )
    assert reason_line(explain_pb2.Reason(text="Blocked")) == "Blocked"
