"""Marks the orders that a credit note with its own number cancels, and these credit notes."""

from pathlib import Path

import duckdb

DEFAULT_CANCEL_DAYS = 30
_CANCELLATIONS_SQL = (Path(__file__).parent / "cancellations.sql").read_text(encoding="utf-8")


def mark_cancellations(connection: duckdb.DuckDBPyConnection, parts: int, cancel_days: int | None) -> int:
    """Set `cancelled_time` of each cancelled order and `cancels` of its credit note in the table `valid_lines`.

    Snapshots before `cancelled_time` still count the order, because the credit note is not known then.

    Args:
        connection: The database with the table `valid_lines`.
        parts: Number of parts of the customers.
        cancel_days: Largest number of days between an order and its credit note; None for the default; 0 to match
            nothing.

    Returns:
        The number of cancelled orders.
    """
    days = DEFAULT_CANCEL_DAYS if cancel_days is None else cancel_days
    has_credit = connection.execute("SELECT COUNT(*) FROM valid_lines WHERE amount < 0").fetchall() != [(0,)]
    if not days or not has_credit:
        return 0
    count = 0
    for part in range(parts):
        parameters = {"part": part, "cancel_days": days}
        connection.execute(f"CREATE OR REPLACE TEMP TABLE cancellations AS {_CANCELLATIONS_SQL}", parameters)
        connection.execute(
            """UPDATE valid_lines SET cancelled_time = cancellations.cancelled_time FROM cancellations
            WHERE valid_lines.rowid = order_line"""
        )
        connection.execute(
            "UPDATE valid_lines SET cancels = true FROM cancellations WHERE valid_lines.rowid = credit_line"
        )
        count += int(connection.execute("SELECT COUNT(*) FROM cancellations").fetchall()[0][0])
    connection.execute("DROP TABLE cancellations")
    return count
