"""The commands for the loan desk against a real server."""

import json
import re
import uuid

import pytest
from google.protobuf.json_format import Parse

from grounds.credit.v1 import credit_pb2
from tests.client.command_line import run_offline, run_process
from tests.conftest import Serving
from tests.server.events import outcome_request, override_request, read_decision, score_with_outcome
from tests.server.requests import euros, score_request

SCORE = ("score", "DE", "C00000", "5000EUR")
PERSON = ("--user", "u17", "--role", "CREDIT_MANAGER", "--limit", "50000EUR")
UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"


def waterfall_columns(printed: str) -> tuple[list[int], list[int]]:
    """Return the columns `points` and `so far` of the waterfall; the last line is the score."""
    rows = re.findall(
        r"^.*? ([+-]?\d+) +(\d+)(?: +[+-]+)? *$", printed[printed.index("how the score adds up") :], re.MULTILINE
    )
    return [int(points) for points, _ in rows], [int(so_far) for _, so_far in rows]


async def test_a_decision_is_shown_first_and_its_points_add_up(serving: Serving) -> None:
    done = await run_process(serving, *SCORE)

    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(r" (APPROVE|REFER|DECLINE)   customer DE C00000, 5,000\.00 EUR", first.rstrip())
    points, so_far = waterfall_columns(done.stdout)
    *contributions, score = points
    assert len(contributions) >= 3
    assert sum(contributions) == score == so_far[-1]
    assert [sum(contributions[: count + 1]) for count in range(len(contributions))] == so_far[:-1]
    assert f"{score} points, probability of default" in done.stdout
    assert re.search(r"^decision [0-9a-f-]{36}, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", done.stdout, re.MULTILINE)


async def test_json_is_one_protobuf_json_document(serving: Serving) -> None:
    options = ("--json", "--locale", "de", "--set", "years=3", "--request-id", str(uuid.uuid4()))

    done = await run_process(serving, *SCORE, *options)

    decision = Parse(done.stdout, credit_pb2.CreditDecision())
    assert decision.customer.customer_id == "C00000"
    assert decision.assessment.reasons.locale == "de"
    assert json.loads(done.stdout)["assessment"]["model_output"]["score"] == decision.assessment.model_output.score


async def test_a_what_if_shows_both_results_and_states_that_it_decides_nothing(serving: Serving) -> None:
    changes = ("--set", "days_late=300", "--set", "years=1")

    done = await run_process(serving, "simulate", "DE", "C00000", "5000EUR", *changes)

    assert done.returncode == 0, done.stderr
    known, simulated = done.stdout.splitlines()[:2]
    assert known.startswith("as known")
    assert simulated.startswith("what if")
    assert "decides nothing" in done.stdout
    points, so_far = waterfall_columns(done.stdout)
    assert sum(points[:-1]) == points[-1] == so_far[-1]
    assert f"{points[-1]} points" in simulated


async def test_a_rejected_call_is_explained_field_by_field_with_status_1(serving: Serving) -> None:
    done = await run_process(serving, *SCORE, "--set", "days_late=400", "--set", 'turnover="7"')

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: FEATURES_INVALID: ")
    assert '  features["turnover"]: must be a number, not a level\n' in done.stderr
    assert "Traceback" not in done.stderr


async def test_overrides_and_outcomes_are_shown_with_the_decision(serving: Serving) -> None:
    decision = await score_with_outcome(serving, credit_pb2.DECISION_APPROVE)
    decision_id = decision.record_ref.decision_id
    day = f"{decision.record_ref.decide_time.ToDatetime():%Y-%m-%d}"
    fraud = ("--reason", "FRAUD_SUSPECTED", *PERSON, "--locale", "de", "--comment", "[see] the file")

    reduced = await run_process(serving, "override", decision_id, "reduce", "--amount", "99.50EUR", *fraud)
    declined = await run_process(serving, "override", decision_id, "decline", *fraud)
    booked = await run_process(serving, "outcome", decision_id, "booked", "--amount", "500EUR", "--on", day)
    shown = await run_process(serving, "decision", decision_id)

    for done in (reduced, declined, booked, shown):
        assert done.returncode == 0, done.stderr
    lines = shown.stdout.splitlines()[-3:]
    assert re.fullmatch(
        r"override [0-9a-f-]{36}, [0-9: -]{19} UTC: APPROVE_REDUCED 99\.50 EUR \(less than the policy\) by u17, "
        r'CREDIT_MANAGER: Es besteht Betrugsverdacht "\[see\] the file"',
        reduced.stdout.strip(),
    )
    printed = "".join(shown.stdout.split())
    for done in (reduced, declined, booked):
        assert "".join(done.stdout.split()) in printed
    assert re.fullmatch(rf"outcome [0-9a-f-]{{36}}, {day}: booked 500\.00 EUR", lines[-1].rstrip())


async def test_the_history_of_a_customer_is_a_table_and_as_json_one_decision_a_line(serving: Serving) -> None:
    made = [
        (await serving.credit.ScoreCredit(score_request(requested_amount=euros(amount)))).credit_decision
        for amount in (500, 600, 700)
    ]
    who = (made[0].customer.market, made[0].customer.customer_id)
    oldest = made[0].record_ref
    await serving.credit.RecordOverride(override_request(made[1]))
    await serving.credit.RecordOutcome(outcome_request(made[0]))

    shown = await run_process(serving, "history", *who)
    newest = await run_process(serving, "history", *who, "--count", "2", "--json")
    nobody = await run_process(serving, "history", "DE", "nobody", "--json")

    assert (shown.returncode, newest.returncode, nobody.returncode, nobody.stdout) == (0, 0, 0, "")
    lines = [line.split("  ") for line in shown.stdout.splitlines()]
    amounts = [
        next(cell.strip() for cell in line if cell.strip().endswith("EUR")) for line in lines if "EUR" in str(line)
    ]
    assert amounts == ["700.00 EUR", "600.00 EUR", "500.00 EUR"]
    assert "DECLINE 0.00 EUR by a.person@example.com" in shown.stdout
    assert f"{oldest.decide_time.ToDatetime():%Y-%m-%d}: booked 500.00 EUR" in shown.stdout
    found = [json.loads(line)["decision_id"] for line in newest.stdout.splitlines()]
    assert found == [each.record_ref.decision_id for each in reversed(made[1:])]


async def test_a_repeated_request_id_returns_the_same_outcome(serving: Serving) -> None:
    decision = await score_with_outcome(serving, credit_pb2.DECISION_APPROVE)
    decision_id = decision.record_ref.decision_id
    day = f"{decision.record_ref.decide_time.ToDatetime():%Y-%m-%d}"
    words = ("outcome", decision_id, "dpd", "--days", "31", "--on", day, "--json", "--request-id", str(uuid.uuid4()))

    first, second = [await run_process(serving, *words) for _ in range(2)]
    corrected = await run_process(
        serving,
        *("outcome", decision_id, "default", "--trigger", "DPD_90", "--on", day),
        *("--corrects", Parse(first.stdout, credit_pb2.Outcome()).outcome_id),
    )
    cured = await run_process(serving, "outcome", decision_id, "cure", "--on", day)

    assert first.stdout == second.stdout
    assert Parse(first.stdout, credit_pb2.Outcome()).days_past_due.days == 31
    assert "default, DPD_90, corrects " in corrected.stdout
    assert cured.stdout.endswith(": cured\n")
    assert len((await read_decision(serving, decision)).outcomes) == 3


async def test_the_json_of_a_decision_is_one_document_with_its_history(serving: Serving) -> None:
    decision = await score_with_outcome(serving, credit_pb2.DECISION_APPROVE)
    decision_id = decision.record_ref.decision_id
    day = f"{decision.record_ref.decide_time.ToDatetime():%Y-%m-%d}"
    await run_process(serving, "outcome", decision_id, "cure", "--on", day)

    done = await run_process(serving, "decision", decision_id, "--json")

    history = Parse(done.stdout, credit_pb2.GetCreditDecisionResponse())
    assert history.credit_decision == decision
    assert [outcome.WhichOneof("event") for outcome in history.outcomes] == ["cure"]


async def test_an_override_outside_the_policy_is_explained_field_by_field_with_status_1(serving: Serving) -> None:
    decision = await score_with_outcome(serving, credit_pb2.DECISION_DECLINE, 20_000)
    decision_id = decision.record_ref.decision_id

    done = await run_process(
        serving, "override", decision_id, "approve", "--reason", "WHIM", *PERSON[:4], "--limit", "9EUR"
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: OVERRIDE_INVALID: ")
    assert "  reason_code: must be one of NEW_INFORMATION" in done.stderr
    assert "  authority_limit: " in done.stderr
    assert "  second_user_id: " in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("score", "DE", "C00000", "much"),
        ("score", "de", "C00000", "5000EUR"),
        (*SCORE, "--set", "years"),
        (*SCORE, "--fact", "=1"),
        ("decision", "01a2069c"),
        ("override", UNKNOWN_ID, "reduce", "--reason", "X", *PERSON, "--amount", "much"),
        ("outcome", UNKNOWN_ID, "dpd", "--on", "2026-11-22"),
        ("outcome", UNKNOWN_ID, "booked", "--on", "2026-11-22", "--days", "3"),
        ("outcome", UNKNOWN_ID, "cure", "--on", "2026-11-22", "--days", "3"),
    ],
)
def test_invalid_arguments_are_rejected_with_an_example_and_without_a_call(words: tuple[str, ...]) -> None:
    status, output, error = run_offline(*words)

    assert (status, output) == (2, "")
    assert "such as" in error


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        (("override", UNKNOWN_ID, "think", "--reason", "X", *PERSON), "must be one of approve, reduce, decline"),
        (
            ("outcome", UNKNOWN_ID, "vanished", "--on", "2026-11-22"),
            "must be one of booked, dpd, default, cure",
        ),
    ],
)
def test_an_unknown_choice_is_rejected_with_the_known_choices(words: tuple[str, ...], choices: str) -> None:
    status, output, error = run_offline(*words)

    assert (status, output) == (2, "")
    assert choices in error
