"""Takes a customer out of every run, and leaves a tombstone for copies; called inside the eraser's transaction."""

import datetime as dt

from sqlalchemy import Connection, delete, func, select, update

from server.stores.features import utc
from server.stores.tables import RISK_CHUNKS, RISK_TOMBSTONES, RISKS, RUNS


def erase_risks(connection: Connection, market: str, customer_id: str, erase_time: dt.datetime) -> int:
    """Erase a customer from all runs of a market; gives from how many. Runs with a later cut may have the customer again.

    Args:
        connection: Of a transaction that has locked the head of the log; nothing is erased unless it commits. So
            tombstones are committed in the order of their numbers, and who has read up to one has missed none.
        market: Of the customer.
        customer_id: Of the customer.
        erase_time: Runs with a cut up to here are loaded without the customer.
    """
    stone = {"market": market, "customer_id": customer_id, "erase_time": erase_time}
    connection.execute(RISK_TOMBSTONES.insert().values(**stone))
    numbers = connection.execute(select(RUNS.c.run_number).where(RUNS.c.market == market)).scalars().all()
    return sum(erase_from_run(connection, number, customer_id) for number in numbers)


def erase_from_run(connection: Connection, number: int, customer_id: str) -> bool:
    """Erase a customer from a run: the row, and its part of the export; gives whether the run had the customer."""
    from server.stores.chunks import without  # pyarrow: the serving process loads it for an erasure only

    of_customer = (RISKS.c.run_number == number) & (RISKS.c.customer_id == customer_id)
    row = connection.execute(select(RISKS.c.chunk, RISKS.c.rank).where(of_customer)).first()
    if row is None:
        return False
    connection.execute(delete(RISKS).where(of_customer))
    of_chunk = (RISK_CHUNKS.c.run_number == number) & (RISK_CHUNKS.c.chunk == row.chunk)
    content = connection.execute(select(RISK_CHUNKS.c.content).where(of_chunk).with_for_update()).scalar_one()
    row_count, left = without(bytes(content), customer_id)
    connection.execute(update(RISK_CHUNKS).where(of_chunk).values(row_count=row_count, content=left))
    scored = RUNS.c.scored_count - int(row.rank is not None)
    counts = {"customer_count": RUNS.c.customer_count - 1, "scored_count": scored}
    connection.execute(update(RUNS).where(RUNS.c.run_number == number).values(**counts))
    return True


def erased(connection: Connection, market: str, as_of: dt.datetime) -> set[str]:
    """Give the customers who were erased at or after a cut: a run of that cut must not bring them back."""
    stones = select(RISK_TOMBSTONES.c.customer_id, RISK_TOMBSTONES.c.erase_time)
    found = connection.execute(stones.where(RISK_TOMBSTONES.c.market == market))
    return {row.customer_id for row in found if utc(row.erase_time) >= as_of}


def remove_tombstones(connection: Connection, before: dt.datetime) -> None:
    """Remove tombstones that no token can ask for, and of which every market has a run with a later cut."""
    latest = select(RUNS.c.market, func.max(RUNS.c.as_of).label("as_of")).group_by(RUNS.c.market)
    for market, as_of in connection.execute(latest).all():
        old = (RISK_TOMBSTONES.c.market == market) & (RISK_TOMBSTONES.c.erase_time < min(before, utc(as_of)))
        connection.execute(delete(RISK_TOMBSTONES).where(old))
