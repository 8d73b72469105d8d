"""Terminal output of churn predictions."""

from typing import Any

from google.type.money_pb2 import Money

from grounds.churn.v1 import churn_pb2
from grounds.customer.v1.customer_pb2 import Customer
from grounds_client.terminal.churn import show_risk
from grounds_client.terminal.console import make_console


def risk_with(**changes: Any) -> churn_pb2.ChurnRisk:
    """Return a prediction with some fields changed."""
    fields: dict[str, Any] = {
        "customer": Customer(market="DE", customer_id="C1"),
        "status": churn_pb2.CHURN_STATUS_SCORED,
        "churn_probability": 0.25,
        "risk_band": churn_pb2.RISK_BAND_HIGH,
        "previous_band": churn_pb2.RISK_BAND_LOW,
        "rank": 3,
        "value_at_risk": Money(currency_code="EUR", units=10),
        "expected_spend": Money(currency_code="EUR", units=40),
        "action_allowed": True,
    }
    risk = churn_pb2.ChurnRisk(**{**fields, **changes})
    risk.as_of_time.FromJsonString("2026-02-01T00:00:00Z")
    risk.valid_until_time.FromJsonString("2026-03-08T00:00:00Z")
    risk.band_since_time.FromJsonString("2026-01-01T00:00:00Z")
    return risk


def render(risk: churn_pb2.ChurnRisk) -> str:
    """Return the printed text."""
    console = make_console()
    with console.capture() as capture:
        show_risk(console, risk)
    return capture.get()


def test_a_risk_is_shown_with_band_value_at_stake_validity_and_whether_contact_is_allowed() -> None:
    printed = render(risk_with())

    for text in (
        "HIGH since 2026-01-01, before that LOW",
        "probability of leaving 25.00%, at stake 10.00 EUR of 40.00 EUR expected",
        "SCORED, as of 2026-02-01, valid until 2026-03-08; may be contacted",
    ):
        assert text in printed


def test_a_spend_decline_is_shown_without_the_share_which_only_the_spec_has() -> None:
    printed = render(risk_with(decline_probability=0.125))

    assert "probability that the spend declines 12.50%" in printed
    assert "half" not in printed


def test_a_customer_who_may_not_be_contacted_is_shown_with_the_reasons() -> None:
    risk = risk_with(hold_out=True, suppressions=["OPEN_COMPLAINT"], action_allowed=False)

    assert "no action: held out, OPEN_COMPLAINT" in render(risk)


def test_a_customer_without_a_score_is_shown_by_status_and_without_numbers() -> None:
    risk = risk_with(status=churn_pb2.CHURN_STATUS_CLOSED, action_allowed=False)

    printed = render(risk)

    assert printed.splitlines()[0].rstrip() == " CLOSED   customer DE C1"
    assert "valid until 2026-03-08; no action" in printed
    assert "probability" not in printed
