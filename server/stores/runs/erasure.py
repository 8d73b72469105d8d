"""Erases a customer from every scoring run of a market, and writes a tombstone so that a CRM deletes the customer too."""

import datetime as dt

from sqlalchemy import Connection, delete, select, update

from server.stores.tables import RISK_CHUNKS, RISK_TOMBSTONES, RISKS, RUNS


def erase_predictions(connection: Connection, market: str, customer_id: str, erase_time: dt.datetime) -> int:
    """Erase a customer from all runs of a market; return the number of runs that contained the customer.

    A tombstone is written only if a run contained the customer. Otherwise no copy that a delta sync can update contains
    the customer. The complete list of erased customers is in the ERASURE records of the log, not in the tombstones.

    Args:
        connection: Connection of a transaction that has locked the head of the log. Because of the lock, tombstones are
            committed in the order of their numbers. So a reader who has seen one number has not missed a smaller
            number.
        market: Market of the customer.
        customer_id: Id of the customer.
        erase_time: Time of the erasure, from which the age of the tombstone is counted.
    """
    numbers = connection.execute(select(RUNS.c.run_number).where(RUNS.c.market == market)).scalars().all()
    count = sum(_erase_from_run(connection, number, customer_id) for number in numbers)
    if count:
        tombstone = {"market": market, "customer_id": customer_id, "erase_time": erase_time}
        connection.execute(RISK_TOMBSTONES.insert().values(**tombstone))
    return count


def _erase_from_run(connection: Connection, number: int, customer_id: str) -> bool:
    """Erase a customer from the rows and the export of a run; return whether the run contained the customer."""
    of_customer = (RISKS.c.run_number == number) & (RISKS.c.customer_id == customer_id)
    row = connection.execute(select(RISKS.c.chunk, RISKS.c.rank).where(of_customer)).first()
    if row is None:
        return False
    connection.execute(delete(RISKS).where(of_customer))
    of_chunk = (RISK_CHUNKS.c.run_number == number) & (RISK_CHUNKS.c.chunk == row.chunk)
    content = connection.execute(select(RISK_CHUNKS.c.content).where(of_chunk).with_for_update()).scalar_one()
    # This module is imported here, because it imports pyarrow, which only an erasure needs.
    from server.stores.runs.export_chunks import remove_customer

    row_count, left = remove_customer(bytes(content), customer_id)
    connection.execute(update(RISK_CHUNKS).where(of_chunk).values(row_count=row_count, content=left))
    scored = RUNS.c.scored_count - int(row.rank is not None)
    counts = {"customer_count": RUNS.c.customer_count - 1, "scored_count": scored}
    connection.execute(update(RUNS).where(RUNS.c.run_number == number).values(**counts))
    return True


def delete_expired_tombstones(connection: Connection, now: dt.datetime, token_days: float) -> None:
    """Delete the tombstones that no valid token can request.

    A delta token is valid for `token_days`. The page tokens of the sync that it starts are valid for a further
    `token_days`.
    """
    before = now - 2 * dt.timedelta(days=token_days)
    connection.execute(delete(RISK_TOMBSTONES).where(RISK_TOMBSTONES.c.erase_time < before))
