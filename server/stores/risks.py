"""Runs of churn risks: written whole by `load`, read by page."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, select

from server.stores.database import Database
from server.stores.tables import RISKS, RUNS

Order = Literal["PROBABILITY", "VALUE_AT_RISK"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run in one market; header is the run file's manifest."""

    run_id: str
    market: str
    customer_count: int
    as_of: Any
    header: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: (rank, customer_id) or (value at risk, customer_id) of its last entry."""

    number: int
    customer_id: str


class RiskStore:
    """Reads runs. A run never changes once it is there."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def newest_run(self, market: str) -> Run | None:
        """Give the market's run with the latest cut; of two with the same cut, the one loaded last."""
        newest = (RUNS.c.as_of.desc(), RUNS.c.load_time.desc(), RUNS.c.run_id)
        return self.run_where(RUNS.c.market == market, order=newest)

    def run(self, run_id: str, market: str) -> Run | None:
        """Give a run by its name."""
        return self.run_where(RUNS.c.run_id == run_id, RUNS.c.market == market)

    def run_where(self, *conditions: Any, order: tuple[Any, ...] = ()) -> Run | None:
        """Give the first run that fits."""
        with self.database.reading() as connection:
            found = connection.execute(select(RUNS).where(*conditions).order_by(*order).limit(1)).first()
        if found is None:
            return None
        return Run(found.run_id, found.market, found.customer_count, found.as_of, json.loads(found.header))

    def risk(self, run: Run, customer_id: str) -> Row[Any] | None:
        """Give one customer of a run."""
        wanted = select(RISKS).where(
            RISKS.c.run_id == run.run_id, RISKS.c.market == run.market, RISKS.c.customer_id == customer_id
        )
        with self.database.reading() as connection:
            return connection.execute(wanted).first()

    def page(self, run: Run, order: Order, after: Place | None, size: int) -> list[Row[Any]]:
        """Give the next customers of a run, at most `size`, in the order asked for."""
        wanted = select(RISKS).where(RISKS.c.run_id == run.run_id, RISKS.c.market == run.market)
        if order == "PROBABILITY":
            wanted = wanted.order_by(RISKS.c.rank)
            wanted = wanted.where(RISKS.c.rank > after.number) if after else wanted
        else:
            # One direction for both columns, so that the index serves the order: falling value, rising customer.
            wanted = wanted.order_by(RISKS.c.value_at_risk_minor.desc(), RISKS.c.customer_id)
            if after:
                less = RISKS.c.value_at_risk_minor < after.number
                same = (RISKS.c.value_at_risk_minor == after.number) & (RISKS.c.customer_id > after.customer_id)
                wanted = wanted.where(less | same)
        with self.database.reading() as connection:
            return list(connection.execute(wanted.limit(size)).all())
