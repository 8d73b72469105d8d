"""The commands for the CRM."""

import json
from pathlib import Path

import pytest

from tests.client.command_line import run, run_offline, run_process, run_streams
from tests.conftest import Serving


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("churn", "top", "DE", "--band", "PURPLE"), "must be one of LOW, MEDIUM, HIGH, CRITICAL, got 'PURPLE'"),
        (("churn", "top", "DE", "--by", "name"), "must be one of probability, value, got 'name'"),
        (("churn", "top", "Germany"), "must be two uppercase letters, such as TW, got 'Germany'"),
        (("churn", "pull", "DE", "--to", "risks.xlsx"), "must end in .parquet or .csv, got risks.xlsx"),
        (("churn", "top", "DE", "--value-min", "1e30"), "'--value-min': Input should be less than"),
        (("churn", "top", "DE", "--value-min", "-1"), "'--value-min': Input should be greater than"),
        (("churn", "top", "DE", "--value-min", "nan"), "'--value-min': Input should be less than"),
    ],
    ids=["band", "order", "market", "file", "large", "negative", "nan"],
)
def test_invalid_arguments_are_rejected_with_the_rule_and_without_a_call(words: tuple[str, ...], rule: str) -> None:
    status, _, error = run_offline(*words)

    assert status == 2
    assert rule in error


async def test_a_pull_from_a_server_without_a_run_fails_with_status_1(serving: Serving, tmp_path: Path) -> None:
    done = await run_process(serving, "churn", "pull", "--to", str(tmp_path / "risks.csv"))

    assert done.returncode == 1
    assert done.stderr == "error: the server has no churn run; load a run, then pull again\n"


async def test_a_list_is_ordered_filtered_and_limited(churn_serving: Serving) -> None:
    _, output, _ = await run_streams(churn_serving, "churn", "top", "FR", "--count", "3", "--json")
    _, high, _ = await run_streams(churn_serving, "churn", "top", "FR", "--band", "high", "--band", "HIGH", "--json")

    risks = [json.loads(line) for line in output.splitlines()]
    assert len(risks) == 3
    probabilities = [risk["churn_probability"] for risk in risks]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {json.loads(line)["risk_band"] for line in high.splitlines()} <= {"RISK_BAND_HIGH"}


async def test_the_run_id_that_evidence_and_replay_require_is_shown(churn_serving: Serving) -> None:
    _, output, _ = await run_streams(churn_serving, "churn", "top", "FR", "--count", "1", "--json")
    risk = json.loads(output)

    status, shown = await run(churn_serving, "churn", "show", "FR", risk["customer"]["customer_id"])

    assert status == 0
    assert f"run {risk['run_id']}" in shown.splitlines()


async def test_a_contact_is_recorded_for_the_newest_run_and_withdrawn_by_a_correction(churn_serving: Serving) -> None:
    _, output, _ = await run_streams(churn_serving, "churn", "top", "FR", "--count", "1", "--json")
    risk = json.loads(output)
    customer, day = risk["customer"]["customer_id"], risk["as_of_time"][:10]

    words = ("churn", "contact", "FR", customer, "--at", f"{day}T12:30")
    _, first, _ = await run_streams(churn_serving, *words, "--by", "Phone", "--campaign", "autumn", "--json")
    recorded = json.loads(first)
    corrects = ("--corrects", recorded["contact_id"])
    status, second = await run(churn_serving, *words, "--by", "none", *corrects, "--run", risk["run_id"])

    assert recorded["run_id"] == risk["run_id"]
    assert (recorded["channel"], recorded["campaign"]) == ("CONTACT_CHANNEL_PHONE", "autumn")
    assert recorded["contact_time"] == f"{day}T12:30:00Z"
    assert status == 0
    assert f"{day} 12:30:00: did not take place, campaign spring, corrects {recorded['contact_id']}" in second


async def test_recorded_contacts_are_listed_newest_first_with_what_corrects_them(churn_serving: Serving) -> None:
    _, output, _ = await run_streams(churn_serving, "churn", "top", "FR", "--count", "2", "--json")
    first, second = (json.loads(line) for line in output.splitlines())
    customer, day = second["customer"]["customer_id"], second["as_of_time"][:10]
    words = ("churn", "contact", "FR", customer, "--run", first["run_id"], "--json")
    ids = []
    for more in (("--by", "phone", "--at", f"{day}T12:30"), ("--by", "email", "--at", f"{day}T12:35")):
        _, recorded, _ = await run_streams(churn_serving, *words, *more, *(["--corrects", ids[0]] if ids else []))
        ids.append(json.loads(recorded)["contact_id"])

    status, shown = await run(churn_serving, "churn", "contacts", "FR", customer)
    _, none = await run(churn_serving, "churn", "contacts", "FR", "NOBODY")

    newest, oldest = shown.splitlines()
    assert status == 0
    assert newest.startswith(f"contact {ids[1]}, {day} 12:35:00: by email")
    assert oldest.startswith(f"contact {ids[0]}, {day} 12:30:00: by phone")
    assert oldest.endswith(f"; corrected by {ids[1]}")
    assert none == "No contact with this customer is recorded.\n"


def test_a_contact_that_can_be_repeated_states_its_time_and_its_run() -> None:
    """Otherwise the repeated call would have another time, and would be rejected."""
    words = ("churn", "contact", "FR", "C1", "--by", "phone", "--request-id", "0b0e3c1e-5f0a-4b7e-9c0e-0f4f5d1b2a3c")
    for more in ((), ("--at", "2026-02-01"), ("--run", "0" * 32)):
        status, _, error = run_offline(*words, *more)
        assert status == 2
        assert "requires --at and --run" in " ".join(error.split())


def test_an_unknown_channel_is_rejected_without_a_call() -> None:
    status, _, error = run_offline("churn", "contact", "FR", "C1", "--by", "pigeon")

    assert status == 2
    assert "must be one of phone, email, message, letter, visit, other, none, got 'pigeon'" in error
