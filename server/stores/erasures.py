"""Takes a customer out of every run; called inside the eraser's transaction."""

import datetime as dt

from sqlalchemy import Connection, delete, update

from server.stores.tables import RISKS, RUNS


def erase_risks(connection: Connection, market: str, customer_id: str, _erase_time: dt.datetime) -> int:
    """Erase a customer from all runs of a market; gives from how many.

    This is where a copy that somebody keeps of the runs is told to forget the customer; there is no feed of changes yet.
    """
    of_customer = (RISKS.c.market == market) & (RISKS.c.customer_id == customer_id)
    gone = connection.execute(delete(RISKS).where(of_customer).returning(RISKS.c.run_id)).scalars().all()
    fewer = update(RUNS).where(RUNS.c.market == market, RUNS.c.run_id.in_(gone))
    connection.execute(fewer.values(customer_count=RUNS.c.customer_count - 1))
    return len(gone)
