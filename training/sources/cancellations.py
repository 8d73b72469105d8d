"""Marks the orders that a credit note cancels, and these credit notes.

A credit note cancels one open order with its key (see cancellations.sql) that is at most `cancel_days` days older: the
order whose amount is closest to its own, and of several such orders the newest. An order of the same amount is therefore
preferred. If the credit note is less than half of that order, it corrects a price and cancels nothing.

The lines of a key are matched in the order of their times, so a later line never changes the match of a credit note. If
the amounts differ, the difference remains in the net spend, on the day of the order.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

DEFAULT_CANCEL_DAYS = 30
_CANCELLATIONS_SQL = (Path(__file__).parent / "cancellations.sql").read_text(encoding="utf-8")
_Order = tuple[int, int]  # the amount in minor units, and the position in the order of the times


def mark_cancellations(
    connection: duckdb.DuckDBPyConnection, parts: int, cancel_days: int | None, decimals: int
) -> int:
    """Set `cancelled_time` and `remaining` of each cancelled order and `cancels` of its credit note in `valid_lines`.

    Snapshots before `cancelled_time` still count the order, because the credit note is not known then.

    Args:
        connection: The database with the table `valid_lines`.
        parts: Number of parts of the customers.
        cancel_days: Largest number of days between an order and its credit note; None for the default; 0 to match
            nothing.
        decimals: Largest number of decimals of an amount.

    Returns:
        The number of cancelled orders.
    """
    days = DEFAULT_CANCEL_DAYS if cancel_days is None else cancel_days
    has_credit = connection.execute("SELECT COUNT(*) FROM valid_lines WHERE amount < 0").fetchall() != [(0,)]
    if not days or not has_credit:
        return 0
    return sum(_mark_part(connection, part, days, 10 ** max(2, decimals)) for part in range(parts))


def _mark_part(connection: duckdb.DuckDBPyConnection, part: int, days: int, minor_units: int) -> int:
    """Mark the lines of one part of the customers; return the number of cancelled orders."""
    found = connection.execute(_CANCELLATIONS_SQL, {"part": part, "minor_units": minor_units}).fetchnumpy()
    lines = found["line"]
    # A memoryview yields Python integers, and needs no memory for lines that it does not yield at present.
    keys, amounts, line_days = (np.asarray(found[name]).data for name in ("key", "amount", "day"))
    pairs = _match_lines(keys, amounts, line_days, days)
    matched = {
        "order_line": pa.array(lines[[order for order, _ in pairs]]),
        "credit_line": pa.array(lines[[credit for _, credit in pairs]]),
    }
    connection.register("matched_lines", pa.table(matched))
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE cancellations AS
        SELECT order_line, credit_line, credit.time AS cancelled_time, ordered.amount + credit.amount AS remaining
        FROM matched_lines
        JOIN valid_lines AS ordered ON ordered.rowid = order_line
        JOIN valid_lines AS credit ON credit.rowid = credit_line"""
    )
    connection.unregister("matched_lines")
    connection.execute(
        """UPDATE valid_lines SET cancelled_time = cancellations.cancelled_time, remaining = cancellations.remaining
        FROM cancellations WHERE valid_lines.rowid = order_line"""
    )
    connection.execute("UPDATE valid_lines SET cancels = true FROM cancellations WHERE valid_lines.rowid = credit_line")
    connection.execute("DROP TABLE cancellations")
    return len(pairs)


def _match_lines(keys: Sequence[int], amounts: Sequence[int], days: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Return the positions of each cancelled order and of its credit note.

    The lines of a key are adjacent and in the order of their times.
    """
    pairs: list[tuple[int, int]] = []
    open_orders: list[_Order] = []  # the open orders of the present key that are not too old, by amount
    key, oldest = -1, 0
    for position, line_key, amount, day in zip(count(), keys, amounts, days, strict=False):
        if line_key != key:
            key, oldest, open_orders = line_key, position, []
        while days[oldest] < day - limit:
            _remove(open_orders, (amounts[oldest], oldest))
            oldest += 1
        if amount > 0:
            insort(open_orders, (amount, position))
        elif (order := _closest_order(open_orders, -amount)) is not None:
            _remove(open_orders, order)
            pairs.append((order[1], position))
    return pairs


def _closest_order(orders: Sequence[_Order], credit: int) -> _Order | None:
    """Return the order that a credit note of an amount cancels, or None."""
    higher = bisect_left(orders, (credit, -1))
    candidates = [*orders[max(higher - 1, 0) : higher]]  # the newest of the highest amount below the credit note
    if higher < len(orders):
        candidates.append(orders[bisect_left(orders, (orders[higher][0] + 1, -1)) - 1])
    found = min(candidates, key=lambda order: (abs(order[0] - credit), -order[1]), default=None)
    return found if found is not None and found[0] <= 2 * credit else None


def _remove(orders: list[_Order], order: _Order) -> None:
    """Remove an order from a sorted list if the list has it."""
    position = bisect_left(orders, order)
    if position < len(orders) and orders[position] == order:
        del orders[position]
