"""Takes a customer out of every run, and leaves a tombstone for copies; called inside the eraser's transaction."""

import datetime as dt

from sqlalchemy import Connection, delete, select, update

from server.stores.runs.export_chunks import remove_customer
from server.stores.tables import RISK_CHUNKS, RISK_TOMBSTONES, RISKS, RUNS


def erase_predictions(connection: Connection, market: str, customer_id: str, erase_time: dt.datetime) -> int:
    """Erase a customer from all runs of a market; gives from how many.

    The tombstone tells copies of the market, and nobody else: where no run had the customer, no copy that is still
    served has, and there is none. Who was erased is asked of the log.

    Args:
        connection: Of a transaction that has locked the head of the log; nothing is erased unless it commits. So
            tombstones are committed in the order of their numbers, and who has read up to one has missed none.
        market: Of the customer.
        customer_id: Of the customer.
        erase_time: From when on the tombstone ages.
    """
    numbers = connection.execute(select(RUNS.c.run_number).where(RUNS.c.market == market)).scalars().all()
    count = sum(erase_from_run(connection, number, customer_id) for number in numbers)
    if count:
        stone = {"market": market, "customer_id": customer_id, "erase_time": erase_time}
        connection.execute(RISK_TOMBSTONES.insert().values(**stone))
    return count


def erase_from_run(connection: Connection, number: int, customer_id: str) -> bool:
    """Erase a customer from a run: the row, and its part of the export; gives whether the run had the customer."""
    of_customer = (RISKS.c.run_number == number) & (RISKS.c.customer_id == customer_id)
    row = connection.execute(select(RISKS.c.chunk, RISKS.c.rank).where(of_customer)).first()
    if row is None:
        return False
    connection.execute(delete(RISKS).where(of_customer))
    of_chunk = (RISK_CHUNKS.c.run_number == number) & (RISK_CHUNKS.c.chunk == row.chunk)
    content = connection.execute(select(RISK_CHUNKS.c.content).where(of_chunk).with_for_update()).scalar_one()
    row_count, left = remove_customer(bytes(content), customer_id)
    connection.execute(update(RISK_CHUNKS).where(of_chunk).values(row_count=row_count, content=left))
    scored = RUNS.c.scored_count - int(row.rank is not None)
    counts = {"customer_count": RUNS.c.customer_count - 1, "scored_count": scored}
    connection.execute(update(RUNS).where(RUNS.c.run_number == number).values(**counts))
    return True


def delete_expired_tombstones(connection: Connection, now: dt.datetime, token_days: float) -> None:
    """Remove tombstones that no token can ask for, in every market.

    A delta token is honoured for so many days, and the page tokens of the sync that it begins for as many again.
    """
    before = now - 2 * dt.timedelta(days=token_days)
    connection.execute(delete(RISK_TOMBSTONES).where(RISK_TOMBSTONES.c.erase_time < before))
