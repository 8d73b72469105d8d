"""Overrides and outcomes as a person at the loan desk types them, against a real server."""

import re
import uuid

import pytest
from google.protobuf.json_format import Parse
from typer.testing import CliRunner

from grounds.credit.v1 import credit_pb2 as pb
from grounds_client.__main__ import app
from tests.client.terminal import typed
from tests.conftest import Serving
from tests.server.events import read_decision, score_with_outcome

WHO = ("--user", "u17", "--role", "CREDIT_MANAGER", "--limit", "50000EUR")
NOBODY = "00000000-0000-0000-0000-000000000000"


async def test_what_a_desk_records_is_shown_with_the_decision(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    name, day = decision.record_ref.decision_id, f"{decision.record_ref.decide_time.ToDatetime():%Y-%m-%d}"
    fraud = ("--reason", "FRAUD_SUSPECTED", *WHO, "--locale", "de", "--comment", "[see] the file")

    reduced = await typed(serving, "override", name, "reduce", "--amount", "99.50EUR", *fraud)
    declined = await typed(serving, "override", name, "decline", *fraud)
    booked = await typed(serving, "outcome", name, "booked", "--amount", "500EUR", "--on", day)
    shown = await typed(serving, "decision", name)

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


async def test_a_program_gets_the_contracts_json_and_the_same_request_id_the_same_answer(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    name, day = decision.record_ref.decision_id, f"{decision.record_ref.decide_time.ToDatetime():%Y-%m-%d}"
    words = ("outcome", name, "dpd", "--days", "31", "--on", day, "--json", "--request-id", str(uuid.uuid4()))

    first, second = [await typed(serving, *words) for _ in range(2)]
    fixed = await typed(
        serving,
        *("outcome", name, "default", "--trigger", "DPD_90", "--on", day),
        *("--corrects", Parse(first.stdout, pb.Outcome()).outcome_id),
    )
    cured = await typed(serving, "outcome", name, "cure", "--on", day)

    assert first.stdout == second.stdout
    assert Parse(first.stdout, pb.Outcome()).days_past_due.days == 31
    assert "default, DPD_90, corrects " in fixed.stdout
    assert cured.stdout.endswith(": cured\n")
    assert len((await read_decision(serving, decision)).outcomes) == 3


async def test_what_the_policy_does_not_allow_is_told_field_by_field_with_status_1(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE, 20_000)

    done = await typed(
        serving, "override", decision.record_ref.decision_id, "approve", "--reason", "WHIM", *WHO[:4], "--limit", "9EUR"
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: OVERRIDE_INVALID: ")
    assert "  reason_code: must be one of NEW_INFORMATION\n" in done.stderr
    assert "  authority_limit: is below what is granted" in done.stderr
    assert "  second_user_id: must be given where more than 10,000 EUR is granted\n" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("override", NOBODY, "think", "--reason", "X", *WHO),
        ("override", NOBODY, "reduce", "--reason", "X", *WHO, "--amount", "much"),
        ("outcome", NOBODY, "dpd", "--on", "2026-11-22"),
        ("outcome", NOBODY, "booked", "--on", "2026-11-22", "--days", "3"),
        ("outcome", NOBODY, "cure", "--on", "2026-11-22", "--days", "3"),
        ("outcome", NOBODY, "vanished", "--on", "2026-11-22"),
    ],
)
def test_what_cannot_be_read_is_explained_and_asks_nothing(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--address", "127.0.0.1:1"])

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "such as" in done.stderr
