"""Terminal output of credit decisions and models."""

from collections.abc import Callable

import pytest
from rich.console import Console

from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import Contribution, Explanation, FeatureValue
from grounds.model.v1 import model_pb2
from grounds_client.formatting import value_text
from grounds_client.terminal.console import make_console
from grounds_client.terminal.credit import _points_table, _show_recourse, show_decision
from grounds_client.terminal.models import show_model, show_models


def capture(draw: Callable[[Console], object]) -> str:
    """Return the printed text."""
    console = make_console()
    with console.capture() as capture:
        draw(console)
    return capture.get()


def test_square_brackets_in_names_and_descriptions_are_shown_as_they_are() -> None:
    """Rich interprets [word] as markup and drops it, and raises an error for [/word]."""
    summary = model_pb2.ModelSummary(family="credit", bundle_id="0" * 64, refusal="card.md [sic] is [/not] whole")
    feature = model_pb2.Feature(
        name="share",
        description="share of late bills [eur] in [/all]",
        unit="[eur]",
        source="FEATURE_SOURCE_STORE",
        monotone_sign=1,
    )
    model = model_pb2.Model(summary=summary, features=[feature], card="# Card [a]")
    line = Contribution(feature="share", value=FeatureValue(number=1), log_odds=1, points=-5)
    assessment = credit_pb2.CreditAssessment(
        model_output=credit_pb2.ModelOutput(score=595), explanation=Explanation(base_points=600, contributions=[line])
    )

    printed = (
        capture(lambda console: show_models(console, [summary]))
        + capture(lambda console: show_model(console, model))
        + capture(lambda console: console.print(_points_table(assessment, model)))
    )

    assert "card.md [sic] is [/not] whole" in printed
    assert printed.count("share of late bills [eur] in [/all]") == 2
    assert "1 [eur]" in printed


@pytest.mark.parametrize(
    ("value", "text"),
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
def test_a_large_amount_is_shown_in_full(value: FeatureValue, text: str) -> None:
    assert value_text(value, "EUR") == text


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (1, "months", "1 month"),
        (-1, "months", "-1 month"),
        (0, "months", "0 months"),
        (2, "months", "2 months"),
        (1.5, "days", "1.5 days"),
        (1, "days per 30 days", "1 day per 30 days"),
        (1, "categories", "1 category"),
        (1, "EUR", "1 EUR"),
        (1, "daysail", "1 daysail"),  # only whole words are known
        (1, "", "1"),
    ],
)
def test_one_of_a_unit_is_written_in_the_singular(number: float, unit: str, text: str) -> None:
    assert value_text(FeatureValue(number=number), unit) == text


def test_a_counterfactual_shows_amounts_in_full_and_levels() -> None:
    changes = [
        credit_pb2.FeatureChange(
            feature="turnover", current=FeatureValue(number=1_234_567), proposed=FeatureValue(number=2_345_678)
        ),
        credit_pb2.FeatureChange(feature="sector", current=FeatureValue(level="7"), proposed=FeatureValue(level="8")),
    ]
    recourse = credit_pb2.Recourse(
        status=credit_pb2.RECOURSE_STATUS_FOUND,
        counterfactuals=[credit_pb2.Counterfactual(changes=changes, score=600, pd=0.1)],
    )

    printed = capture(lambda console: _show_recourse(console, recourse))

    assert "1. turnover from 1,234,567 to 2,345,678; sector from 7 to 8: 600 points, 10.00%" in printed


def test_a_warning_is_printed_with_what_it_means() -> None:
    decision = credit_pb2.CreditDecision(decision=credit_pb2.DECISION_APPROVE)
    decision.assessment.warnings.add(code="UNSEEN_LEVEL", feature="sector[1]")
    decision.assessment.warnings.add(code="OF_A_LATER_RELEASE")

    printed = " ".join(capture(lambda console: show_decision(console, decision, None)).split())

    assert "Warning: the level of sector[1] did not occur in training" in printed
    assert "Warning: OF_A_LATER_RELEASE" in printed
