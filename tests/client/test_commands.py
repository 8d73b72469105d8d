"""The command line as a person types it, against a real server."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from google.type.money_pb2 import Money
from rich.console import Console
from typer.testing import CliRunner

from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from grounds.explain.v1.explain_pb2 import Contribution, Explanation, FeatureValue
from grounds.model.v1 import model_pb2
from grounds_client.__main__ import app, console, values_of
from grounds_client.show import show_model, show_models, show_recourse, waterfall
from grounds_client.show_churn import show_risk
from grounds_client.values import value_text
from tests.client.terminal import typed
from tests.conftest import Serving
from tests.small import SmallFamily

ASK = ("score", "DE", "C00000", "5000EUR")


def column(printed: str) -> tuple[list[int], list[int]]:
    """Give the columns `points` and `so far` of the table that adds up, the last line being the score."""
    rows = re.findall(
        r"^.*? ([+-]?\d+) +(\d+)(?: +[+-]+)? *$", printed[printed.index("how the score adds up") :], re.MULTILINE
    )
    return [int(points) for points, _ in rows], [int(so_far) for _, so_far in rows]


async def test_a_decision_is_shown_first_and_its_points_add_up(serving: Serving) -> None:
    done = await typed(serving, *ASK)

    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(r" (APPROVE|REFER|DECLINE)   customer DE C00000, 5,000\.00 EUR", first.rstrip())
    points, so_far = column(done.stdout)
    *pushes, score = points
    assert len(pushes) >= 3
    assert sum(pushes) == score == so_far[-1]
    assert [sum(pushes[: count + 1]) for count in range(len(pushes))] == so_far[:-1]
    assert f"{score} points, probability of default" in done.stdout
    assert re.search(r"^decision [0-9a-f-]{36}, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", done.stdout, re.MULTILINE)


async def test_a_program_gets_json_that_is_the_contracts(serving: Serving) -> None:
    done = await typed(serving, *ASK, "--json", "--locale", "de", "--set", "years=3", "--request-id", str(uuid.uuid4()))

    decision = Parse(done.stdout, pb.CreditDecision())
    assert decision.customer.customer_id == "C00000"
    assert decision.assessment.reasons.locale == "de"
    assert json.loads(done.stdout)["assessment"]["model_output"]["score"] == decision.assessment.model_output.score


async def test_a_what_if_shows_both_sides_and_that_it_decides_nothing(serving: Serving) -> None:
    done = await typed(serving, "simulate", "DE", "C00000", "5000EUR", "--set", "days_late=300", "--set", "years=1")

    assert done.returncode == 0, done.stderr
    known, simulated = done.stdout.splitlines()[:2]
    assert known.startswith("as known")
    assert simulated.startswith("what if")
    assert "decides nothing" in done.stdout
    points, so_far = column(done.stdout)
    assert sum(points[:-1]) == points[-1] == so_far[-1]
    assert f"{points[-1]} points" in simulated


async def test_a_model_is_shown_by_the_beginning_of_its_name(serving: Serving, small: SmallFamily) -> None:
    done = await typed(serving, "models", small.bundle_folder.name[:12])

    assert done.returncode == 0, done.stderr
    assert "days_late *" in done.stdout
    assert "without it a customer is not scorable" in done.stdout


@pytest.mark.parametrize(
    "words", [("score", "DE", "C00000", "much"), (*ASK, "--set", "years")], ids=["amount", "value"]
)
def test_what_cannot_be_read_is_explained_and_asks_nothing(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--address", "127.0.0.1:1"])

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "such as" in done.stderr


async def test_a_refused_call_is_told_field_by_field_with_status_1(serving: Serving) -> None:
    done = await typed(serving, *ASK, "--set", "days_late=400", "--set", 'turnover="7"')

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: FEATURES_INVALID: ")
    assert '  features["turnover"]: must be a number, not a level\n' in done.stderr
    assert "Traceback" not in done.stderr


def shown(draw: Callable[[Console], object]) -> str:
    """Give what a person sees."""
    paper = console()
    with paper.capture() as captured:
        draw(paper)
    return captured.get()


def test_square_brackets_in_names_and_descriptions_are_shown_as_they_are() -> None:
    """Rich takes [word] for markup and drops it, and [/word] for an error."""
    summary = model_pb2.ModelSummary(family="credit", bundle_id="0" * 64, refusal="card.md [sic] is [/not] whole")
    feature = model_pb2.Feature(
        name="share", description="share of late bills [eur] in [/all]", unit="[eur]", source=1, monotone_sign=1
    )
    model = model_pb2.Model(summary=summary, features=[feature], card="# Card [a]")
    line = Contribution(feature="share", value=FeatureValue(number=1), log_odds=1, points=-5)
    assessment = pb.CreditAssessment(
        model_output=pb.ModelOutput(score=595), explanation=Explanation(base_points=600, contributions=[line])
    )

    printed = (
        shown(lambda paper: show_models(paper, [summary]))
        + shown(lambda paper: show_model(paper, model))
        + shown(lambda paper: paper.print(waterfall(assessment, model)))
    )

    assert "card.md [sic] is [/not] whole" in printed
    assert printed.count("share of late bills [eur] in [/all]") == 2
    assert "1 [eur]" in printed


@pytest.mark.parametrize(
    ("value", "shown_as"),
    [
        (FeatureValue(number=1_234_567), "1,234,567 EUR"),
        (FeatureValue(number=12_345_678_901.5), "12,345,678,901.50 EUR"),
        (FeatureValue(number=-100_000.01), "-100,000.01 EUR"),
        (FeatureValue(number=2), "2 EUR"),
        (FeatureValue(number=1 / 3), "0.333333 EUR"),
        (FeatureValue(level="7"), "7"),
        (FeatureValue(level=""), ""),
        (FeatureValue(), "missing"),
    ],
    ids=["million", "cents", "negative", "count", "share", "level", "empty", "missing"],
)
def test_an_amount_is_shown_in_full_however_large_it_is(value: FeatureValue, shown_as: str) -> None:
    assert value_text(value, "EUR") == shown_as


def test_a_way_to_approval_names_amounts_in_full_and_levels() -> None:
    changes = [
        pb.FeatureChange(
            feature="turnover", current=FeatureValue(number=1_234_567), proposed=FeatureValue(number=2_345_678)
        ),
        pb.FeatureChange(feature="sector", current=FeatureValue(level="7"), proposed=FeatureValue(level="8")),
    ]
    found = pb.Recourse(
        status=pb.RECOURSE_STATUS_FOUND, counterfactuals=[pb.Counterfactual(changes=changes, score=600, pd=0.1)]
    )

    seen = shown(lambda paper: show_recourse(paper, found))

    assert "1. turnover from 1,234,567 to 2,345,678; sector from 7 to 8: 600 points, 10.00%" in seen


def test_a_value_in_quotes_is_a_level_also_where_it_is_a_number() -> None:
    typed_values = ['SECTOR="7"', "PAY_0=7", "PAY_2=-1.5", "TOWN=Ulm", 'QUOTED="', 'EMPTY=""', 'NAN="nan"']

    assert values_of(typed_values) == {
        "SECTOR": "7",
        "PAY_0": 7.0,
        "PAY_2": -1.5,
        "TOWN": "Ulm",
        "QUOTED": '"',
        "EMPTY": "",
        "NAN": "nan",
    }


def a_risk(**changes: Any) -> churn_pb2.ChurnRisk:
    """Make a risk."""
    who, spend = Customer(market="DE", customer_id="C1"), Money(currency_code="EUR", units=40)
    told: dict[str, Any] = {
        "customer": who,
        "status": churn_pb2.CHURN_STATUS_SCORED,
        "churn_probability": 0.25,
        "risk_band": churn_pb2.RISK_BAND_HIGH,
        "previous_band": churn_pb2.RISK_BAND_LOW,
        "rank": 3,
        "value_at_risk": Money(currency_code="EUR", units=10),
        "expected_spend": spend,
        "action_allowed": True,
    }
    risk = churn_pb2.ChurnRisk(**{**told, **changes})
    risk.as_of_time.FromJsonString("2026-02-01T00:00:00Z")
    risk.valid_until_time.FromJsonString("2026-03-08T00:00:00Z")
    risk.band_since_time.FromJsonString("2026-01-01T00:00:00Z")
    return risk


def test_a_risk_is_shown_with_band_since_stake_validity_and_whether_somebody_may_act() -> None:
    seen = shown(lambda paper: show_risk(paper, a_risk()))

    for told in (
        "HIGH since 2026-01-01, before that LOW",
        "probability of leaving 25.00%, at stake 10.00 EUR of 40.00 EUR expected",
        "SCORED, as of 2026-02-01, valid until 2026-03-08; may be contacted",
    ):
        assert told in seen


def test_a_spend_decline_is_shown_without_a_share_that_only_the_spec_knows() -> None:
    seen = shown(lambda paper: show_risk(paper, a_risk(decline_probability=0.125)))

    assert "probability that the spend declines 12.50%" in seen
    assert "half" not in seen


def test_who_may_not_be_contacted_is_shown_with_the_reasons() -> None:
    risk = a_risk(hold_out=True, suppressions=["OPEN_COMPLAINT"], action_allowed=False)

    assert "no action: held out, OPEN_COMPLAINT" in shown(lambda paper: show_risk(paper, risk))


def test_a_customer_without_a_score_is_shown_by_status_and_without_numbers() -> None:
    risk = a_risk(status=churn_pb2.CHURN_STATUS_CLOSED, action_allowed=False)

    seen = shown(lambda paper: show_risk(paper, risk))

    assert seen.splitlines()[0].rstrip() == " CLOSED   customer DE C1"
    assert "valid until 2026-03-08; no action" in seen
    assert "probability" not in seen


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("churn", "top", "DE", "--band", "PURPLE"), "--band takes LOW, MEDIUM, HIGH, CRITICAL"),
        (("churn", "pull", "DE", "--to", "risks.xlsx"), "--to takes a file that ends in"),
        (("churn", "top", "DE", "--value-min", "1e30"), "'--value-min': Input should be less than"),
        (("churn", "top", "DE", "--value-min", "-1"), "'--value-min': Input should be greater than"),
        (("churn", "top", "DE", "--value-min", "nan"), "'--value-min': Input should be less than"),
    ],
    ids=["band", "file", "large", "negative", "nan"],
)
def test_what_the_crm_mistypes_is_explained_and_asks_nothing(words: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(app, [*words, "--address", "127.0.0.1:1"])

    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())


async def test_a_pull_without_a_run_says_so_with_status_1(serving: Serving, tmp_path: Path) -> None:
    done = await typed(serving, "churn", "pull", "--to", str(tmp_path / "risks.csv"))

    assert done.returncode == 1
    assert done.stderr == "error: the server has no churn run\n"
