"""The expected spend of made customers equals amounts that were computed by hand."""

from decimal import Decimal

import pyarrow as pa
import pytest

from training.scoring.expected_spend import ExpectedSpend, minor_units
from training.spec import Spec

LOG = {
    "path": "log.csv",
    "market": "DE",
    "currency": "EUR",
    "duplicates": "keep",
    "columns": {"customer_id": "a", "time": "b", "amount": "c"},
}


def spec(active_days: int, **others: object) -> Spec:
    """Return the spec of a log with a horizon of 60 days."""
    snapshots = {"horizon_days": 60, "active_days": active_days}
    return Spec.model_validate(
        {
            "family": "made",
            "title": "t",
            "purpose": "p",
            "population": "q",
            "log": LOG,
            "snapshots": snapshots,
            **others,
        }
    )


def customers(horizon_days: int = 60, **columns: float | None) -> pa.Table:
    """Return one customer with the given features."""
    return pa.table({"horizon_days": [horizon_days], **{name: [value] for name, value in columns.items()}})


def amount(of: Spec, rows: pa.Table) -> Decimal:
    """Return the expected spend of the only customer, in cents."""
    return Decimal(minor_units(ExpectedSpend.from_spec(of, rows.column_names).amounts(rows)[0])) / 100


@pytest.mark.parametrize(
    ("active_days", "by_hand"),
    [(30, "60"), (31, "120"), (90, "120"), (91, "100"), (180, "100"), (181, "60"), (365, "60"), (366, "41.10")],
)
def test_the_window_is_the_shortest_that_covers_active_days(active_days: int, by_hand: str) -> None:
    """30 / 30 * 60, 180 / 90 * 60, 300 / 180 * 60, 365 / 365 * 60, and 500 / 730 * 60."""
    rows = customers(
        net_spend_30=30.0,
        net_spend_90=180.0,
        net_spend_180=300.0,
        net_spend_365=365.0,
        net_spend_total=500.0,
        tenure_days=730.0,
    )

    assert amount(spec(active_days), rows) == Decimal(by_hand)


def test_the_spend_is_scaled_to_the_horizon_of_the_customer() -> None:
    rows = customers(15, net_spend_180=300.0, net_spend_total=300.0, tenure_days=100.0)

    assert amount(spec(180), rows) == Decimal(25)


def test_a_customer_who_spent_something_on_balance_never_has_a_value_of_zero() -> None:
    """The whole history replaces an empty window: 400 in 200 days are 120 in 60 days."""
    old = customers(spend_90=0.0, net_spend_total=400.0, tenure_days=200.0)
    missing = customers(spend_90=None, net_spend_total=400.0, tenure_days=200.0)
    returned = customers(net_spend_180=-50.0, net_spend_total=400.0, tenure_days=200.0)
    tiny = customers(net_spend_180=0.01, net_spend_total=0.01, tenure_days=900.0)
    nothing = customers(net_spend_180=-50.0, net_spend_total=-10.0, tenure_days=200.0)
    own = spec(180, value={"feature": "spend_90", "factor": 0.5})

    assert [amount(own, rows) for rows in (old, missing)] == [120, 120]
    assert [amount(spec(180), rows) for rows in (returned, tiny, nothing)] == [120, Decimal("0.01"), 0]


def test_a_new_customer_is_not_expected_to_spend_more_than_so_far() -> None:
    """A tenure of 10 days is shorter than the horizon, so the spend of 10 days is expected within 60."""
    rows = customers(net_spend_180=0.0, net_spend_total=70.0, tenure_days=10.0)

    assert amount(spec(180), rows) == 70


def test_a_feature_file_uses_the_spend_that_it_has() -> None:
    rows = customers(spend_365=730.0, spend_total=800.0, tenure_days=400.0)

    assert amount(spec(300), rows) == 120
    assert amount(spec(180), rows) == 120  # no spend of 180 days: 800 / 400 * 60
