"""A credit note cancels its order; expected results are computed by hand, or by a slow search in plain Python."""

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


@pytest.mark.parametrize("order", ["0123", "0213", "3210", "2301"])
def test_without_a_quantity_a_credit_note_cancels_the_order_of_its_product_in_any_order_of_the_lines(
    order: str, tmp_path: Path
) -> None:
    """The order of P2 is cancelled, so P1 remains, which was bought on two days."""
    lines: list[Line] = [
        ("k", "2026-01-01", 7, "b0", "P1", None),
        ("k", "2026-01-02", 10, "b1", "P1", None),
        ("k", "2026-01-02", 10, "b1", "P2", None),
        ("k", "2026-01-02", -10, "b2", "P2", None),
    ]

    row = at_cut(tmp_path, [lines[int(position)] for position in order]).loc["k"]

    assert (row["products_90"], row["purchase_days"], row["spend_90"]) == (1, 2, 17)


@pytest.mark.parametrize("order", ["012", "102", "210"])
def test_without_a_product_a_credit_note_cancels_the_order_of_its_quantity(order: str, tmp_path: Path) -> None:
    """The older order of the day is cancelled, so two orders on two days remain."""
    lines: list[Line] = [
        ("k", "2026-02-01 09:00", 10, "b1", None, 1),
        ("k", "2026-02-02 09:00", 10, "b2", None, 2),
        ("k", "2026-02-02 10:00", 10, "b1", None, 1),
        ("k", "2026-02-02 11:00", -10, "b3", None, -2),
    ]

    row = at_cut(tmp_path, [lines[int(position)] for position in f"{order}3"]).loc["k"]

    with open_transaction_log(log_spec(tmp_path, lines), None, SourcePaths(tmp_path), 1) as log:
        query = "SELECT basket FROM valid_lines WHERE cancelled_time IS NOT NULL"
        assert log.connection.execute(query).fetchall() == [("b2",)]
    assert (row["purchase_days"], row["spend_90"], row["returns_90"]) == (2, 20, 0)


# The amounts of lines of one product and quantity, five days apart; then spend_90, returns_90, net_spend_30 and net_spend_90.
# The first line is 55 days old, and a line of another product with the amount 30 precedes them.
BY_HAND = {
    "the older order of the same amount": ([1000, 100, -1000], (130, 0, 0, 130)),
    "the first of two orders": ([100, 300, -100], (330, 0, 0, 330)),
    "a lower credit note: 40 remain": ([100, -60], (30, 0, 0, 70)),
    "a higher credit note: -20 remain": ([100, -120], (30, 0, 0, 10)),
    "the closest amount: -50 remain": ([1000, 100, -950], (130, 0, 0, 180)),
    "the newest of two that are equally close: 10 remain": ([90, 110, -100], (120, 0, 0, 130)),
    "a correction of less than half": ([100, -49], (130, 1, 0, 81)),
    "a later credit note does not change the match of an earlier one": ([100, -60, -100], (30, 1, 0, -30)),
    "an earlier order is cancelled once the newest one is": ([100, 100, -100, -100], (30, 0, 0, 30)),
    "an order that is cancelled already": ([100, -100, -100], (30, 1, 0, -70)),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_of_several_orders_the_closest_amount_is_cancelled_and_the_net_spend_is_the_sum_of_the_lines(
    case: str, tmp_path: Path
) -> None:
    amounts, expected = BY_HAND[case]
    days = [CUT - dt.timedelta(days=55 - 5 * position) for position in range(len(amounts))]
    lines: list[Line] = [("k", str(CUT - dt.timedelta(days=60)), 30, "0", "B", 1)]
    lines += [("k", str(day), amount, f"n{day}", "A", 1) for day, amount in zip(days, amounts, strict=True)]

    row = at_cut(tmp_path, lines).loc["k"]

    assert (row["spend_90"], row["returns_90"], row["net_spend_30"], row["net_spend_90"]) == expected
    assert row["net_spend_total"] == 30 + sum(amounts)


def test_the_remainder_of_an_order_is_net_spend_of_the_day_of_the_order(tmp_path: Path) -> None:
    """The order is 40 days old and its credit note 20; before the credit note, the whole order counts."""
    lines: list[Line] = [
        ("k", "2026-01-01", 30, "0", "B", 1),
        ("k", "2026-01-20", 100, "1", "A", 1),
        ("k", "2026-02-09", -60, "2", "A", -1),
    ]

    before, after = (at_cut(tmp_path, lines, cut).loc["k"] for cut in (dt.date(2026, 2, 9), CUT))

    assert (before["net_spend_30"], before["net_spend_90"]) == (100, 130)
    assert (after["net_spend_30"], after["net_spend_90"]) == (0, 70)


def cancelled_by_search(lines: list[Line], days: int) -> set[str]:
    """Return the baskets of the lines that remain; every credit note searches all earlier lines for its order."""
    ordered = sorted(lines, key=lambda one: (one[1], one[2] < 0, one[2], one[3]))
    gone: set[int] = set()
    for place, (customer, time, amount, _, product, quantity) in enumerate(ordered):
        if amount > 0:
            continue
        found: list[tuple[float, int]] = []
        for earlier, order in enumerate(ordered[:place]):
            gap = (pd.Timestamp(time[:10]) - pd.Timestamp(order[1][:10])).days
            same = (order[0], order[4]) == (customer, product) and (
                order[5] == quantity if quantity is None else order[5] is not None and abs(order[5]) == abs(quantity)
            )
            if None in (product, quantity):
                same = same and gap == 0 and order[2] == -amount
            if same and order[2] > 0 and gap <= days and earlier not in gone:
                found.append((abs(order[2] + amount), -earlier))
        if found and -amount >= ordered[-min(found)[1]][2] / 2:
            gone |= {place, -min(found)[1]}
    return {line[3] for place, line in enumerate(ordered) if place not in gone}


def drawn_lines(seed: int) -> list[Line]:
    """Return lines of few customers, times, amounts, products and quantities, so that most credit notes have a choice."""
    drawn = random.Random(seed)  # noqa: S311 - not for cryptography
    lines: list[Line] = []
    for number in range(300):
        sign = 1 if drawn.random() < 0.6 else -1
        time = f"2026-01-{drawn.randint(1, 28):02d} {drawn.randint(8, 17):02d}:00"
        product = drawn.choice([None, "p1", "p2", "p2"])
        quantity = drawn.choice([None, sign, 2 * sign, 2])
        amount = float(sign * drawn.choice([5, 10, 11, 30]))
        lines.append((f"c{drawn.randint(1, 3)}", time, amount, str(number), product, quantity))
    return lines


@pytest.mark.parametrize("seed", range(8))
def test_random_logs_keep_the_lines_that_a_search_keeps_in_any_order_of_the_lines(seed: int, tmp_path: Path) -> None:
    lines = drawn_lines(seed)
    sums = pd.DataFrame(lines, columns=COLUMNS).groupby("customer")["amount"].sum().to_dict()
    expected = cancelled_by_search(lines, 4)

    for threads in (1, 2):
        random.Random(seed).shuffle(lines)  # noqa: S311 - not for cryptography
        with open_transaction_log(
            log_spec(tmp_path, lines, cancel_days=4), None, SourcePaths(tmp_path), threads
        ) as log:
            query = "SELECT basket FROM valid_lines WHERE cancelled_time IS NULL AND NOT cancels"
            found = {basket for (basket,) in log.connection.execute(query).fetchall()}
            create_customers(log, SNAPSHOTS, CUT)
            net = log.connection.execute("SELECT customer_id, net_spend_total FROM customers").fetchall()

        assert found == expected
        assert dict(net) == sums
    assert len(expected) < 260
