"""A credit note with its own number cancels its order; expected results are those of a greedy stack in plain Python."""

import datetime as dt
import random
from pathlib import Path

import pandas as pd
import pytest

from training.sources.snapshots import _read_snapshot, create_customers
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import LogColumns, LogSpec, SnapshotSpec

CUT = dt.date(2026, 3, 1)
COLUMNS = ["customer", "time", "amount", "basket", "product", "quantity"]
Line = tuple[str, str, float, str, str | None, float | None]
SNAPSHOTS = SnapshotSpec(horizon_days=30, active_days=90)


def log_spec(folder: Path, lines: list[Line], **others: object) -> LogSpec:
    """Write a log, and return its spec."""
    pd.DataFrame(lines, columns=COLUMNS).to_csv(folder / "log.csv", index=False)
    names = {"customer_id": "customer", "time": "time", "amount": "amount"}
    columns = LogColumns(**names, basket="basket", product="product", quantity="quantity")
    return LogSpec.model_validate(
        {"path": "log.csv", "market": "DE", "currency": "EUR", "until": "2027-01-01", "columns": columns, **others}
    )


def at_cut(folder: Path, lines: list[Line], cut: dt.date = CUT, **others: object) -> pd.DataFrame:
    """Return the features of the customers at a cut, by customer."""
    with open_transaction_log(log_spec(folder, lines, **others), None, SourcePaths(folder), 1) as log:
        create_customers(log, SNAPSHOTS, cut)
        return log.connection.execute("SELECT * FROM customers").df().set_index("customer_id")


OTHER: Line = ("other", "2026-02-20", 7, "9", "Z", 1)  # a customer who keeps the snapshot from being empty
LARGE: list[Line] = [
    ("k", "2026-01-18 09:15", 168469.60, "541431", "23166", 74215),
    ("k", "2026-01-18 09:27", -168469.60, "C541433", "23166", -74215),
    ("k", "2026-01-10 12:00", 30, "541000", "23166", 10),
]


def test_an_order_credited_twelve_minutes_later_is_neither_spend_nor_a_purchase_nor_a_return(tmp_path: Path) -> None:
    row = at_cut(tmp_path, LARGE).loc["k"]

    assert (row["purchase_days"], row["recency_days"], row["spend_90"]) == (1, 50, 30)
    assert (row["net_spend_90"], row["returns_90"], row["returned_share_90"]) == (30, 0, 0)


def test_an_order_counts_until_its_credit_note_is_known(tmp_path: Path) -> None:
    lines = [*LARGE[2:], ("k", "2026-01-20", 500, "1", "A", 5), ("k", "2026-02-10", -500, "2", "A", -5)]

    before, after = (at_cut(tmp_path, lines, cut).loc["k"] for cut in (dt.date(2026, 2, 10), dt.date(2026, 2, 11)))

    assert (before["spend_90"], before["purchase_days"]) == (530, 2)
    assert (after["spend_90"], after["purchase_days"]) == (30, 1)


@pytest.mark.parametrize(
    ("credit", "cancels"),
    [
        (("k", "2026-02-19", -50, "2", "A", -5), True),
        (("k", "2026-02-19", -50, "2", "A", 5), True),  # the sign of the quantity is not the same in all systems
        (("k", "2026-02-20", -50, "2", "A", -5), False),  # 31 days later
        (("k", "2026-02-19", -50, "2", "B", -5), False),
        (("k", "2026-02-19", -50, "2", "A", -4), False),
        (("m", "2026-02-19", -50, "2", "A", -5), False),
        (("k", "2026-01-19", -50, "2", "A", -5), False),  # before the order
        (("k", "2026-02-19", -25, "2", "A", -5), True),
        (("k", "2026-02-19", -24.99, "2", "A", -5), False),  # corrects a price
        (("k", "2026-02-19", -50, "2", None, None), False),
    ],
)
def test_a_credit_note_needs_customer_product_quantity_half_the_amount_and_at_most_cancel_days(
    credit: Line, *, cancels: bool, tmp_path: Path
) -> None:
    found = at_cut(tmp_path, [OTHER, ("k", "2026-01-20", 50, "1", "A", 5), credit])

    assert ("k" not in found.index) == cancels


def test_cancel_days_of_zero_match_nothing(tmp_path: Path) -> None:
    row = at_cut(tmp_path, LARGE, cancel_days=0).loc["k"]

    assert (row["purchase_days"], row["returns_90"], row["spend_90"]) == (2, 1, 168499.60)
    assert row["net_spend_90"] == 30


def test_bought_and_returned_on_the_same_day_without_a_product_is_no_purchase(tmp_path: Path) -> None:
    """Only the same amount cancels a purchase: a return of other goods on the day of a purchase does not."""
    lines: list[Line] = [
        ("same", "2026-02-01 09:00", 80, "1", None, None),
        ("same", "2026-02-01 17:00", -80, "2", None, None),
        ("same", "2026-01-15 09:00", 20, "3", None, None),
        ("next", "2026-02-01 09:00", 80, "4", None, None),
        ("next", "2026-02-02 09:00", -80, "5", None, None),
        ("less", "2026-02-01 09:00", 80, "6", None, None),
        ("less", "2026-02-01 17:00", -100, "7", None, None),
    ]

    found = at_cut(tmp_path, lines)

    days = {name: (row["recency_days"], row["net_spend_90"], row["returns_90"]) for name, row in found.iterrows()}
    assert days == {"same": (45, 20, 0), "next": (28, 0, 1), "less": (28, -20, 1)}


def test_the_net_spend_of_every_window_equals_the_sum_by_hand(tmp_path: Path) -> None:
    ages = {10: 100.0, 20: -30.0, 80: 40.0, 170: 50.0, 360: 60.0, 500: 70.0}
    lines: list[Line] = [
        ("k", str(CUT - dt.timedelta(days=age)), amount, str(age), f"P{age}", 1) for age, amount in ages.items()
    ]

    row = at_cut(tmp_path, lines).loc["k"]

    windows = ("30", "90", "180", "365", "total")
    assert [row[f"net_spend_{window}"] for window in windows] == [70, 110, 160, 220, 290]


def test_an_order_that_is_credited_within_the_horizon_is_not_a_purchase_of_the_label(tmp_path: Path) -> None:
    ahead: list[Line] = [
        ("credited", "2026-01-10", 9, "1", "A", 1),
        ("credited", "2026-03-03", 9, "2", "A", 3),
        ("credited", "2026-03-09", -9, "3", "A", -3),
        ("later", "2026-01-10", 9, "4", "A", 1),
        ("later", "2026-03-20", 9, "5", "A", 3),
        ("later", "2026-04-02", -9, "6", "A", -3),  # after the horizon, so the label cannot know it
        *(
            ("other", f"2026-0{month}-{day:02d}", 5, f"{month}{day}", "B", 2)
            for month in (1, 2, 3, 4)
            for day in range(1, 28)
        ),
    ]
    with open_transaction_log(log_spec(tmp_path, ahead), None, SourcePaths(tmp_path), 1) as log:
        rows, _ = _read_snapshot(log, SNAPSHOTS, CUT, "FIT", [])

    labels = dict(zip(rows["customer_id"], rows["label"], strict=True))
    assert labels == {"credited": 1, "later": 0, "other": 0}


def cancelled_by_hand(lines: list[Line], days: int) -> list[Line]:
    """Return the lines that remain: every credit note takes the newest open order of its customer, product and quantity."""
    remaining: list[Line] = []
    for line in sorted(lines, key=lambda one: (one[1], one[2] < 0, one[2], one[3])):
        key = (line[0], line[4], abs(line[5] or 0))
        found = [order for order in remaining if order[2] > 0 and (order[0], order[4], abs(order[5] or 0)) == key]
        gap = (pd.Timestamp(line[1]).normalize() - pd.Timestamp(found[-1][1]).normalize()).days if found else 0
        if line[2] < 0 and found and gap <= days:
            remaining.remove(found[-1])
        else:
            remaining.append(line)
    return remaining


@pytest.mark.parametrize("seed", range(8))
def test_random_logs_keep_the_lines_that_a_greedy_stack_keeps(seed: int, tmp_path: Path) -> None:
    drawn = random.Random(seed)  # noqa: S311 - not for cryptography
    lines: list[Line] = []
    for number in range(300):
        sign = 1 if drawn.random() < 0.6 else -1
        time = f"2026-01-{drawn.randint(1, 28):02d} {drawn.randint(8, 17):02d}:00"
        lines.append(
            (
                f"c{drawn.randint(1, 5)}",
                time,
                sign * 10.0,
                str(number),
                f"p{drawn.randint(1, 3)}",
                sign * drawn.randint(1, 2),
            )
        )

    with open_transaction_log(log_spec(tmp_path, lines, cancel_days=4), None, SourcePaths(tmp_path), 1) as log:
        query = "SELECT basket FROM valid_lines WHERE cancelled_time IS NULL AND NOT cancels"
        found = {basket for (basket,) in log.connection.execute(query).fetchall()}

    assert found == {line[3] for line in cancelled_by_hand(lines, 4)}
    assert len(found) < 280
