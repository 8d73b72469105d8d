"""Runs of churn risks: written whole by `load`, read by page. A reader never sees a part of a run."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from server.errors import ResyncRequired
from server.stores.database import Database
from server.stores.features import utc
from server.stores.tables import RISK_CHUNKS, RISKS, RUNS

PredictionOrder = Literal["PROBABILITY", "VALUE_AT_RISK"]
SCORED = "SCORED"
LOADING, LOADED, PRUNING = "LOADING", "LOADED", "PRUNING"  # the states of a run
NEWEST_FIRST = (RUNS.c.as_of.desc(), RUNS.c.load_time.desc(), RUNS.c.run_number.desc())
# What lists show; the explanation is read for one customer at a time.
LIST_COLUMNS = tuple(column for column in RISKS.c if column.name not in {"features", "contributions"})


@dataclass(frozen=True, slots=True)
class ScoringRun:
    """A run in one market; header is the run file's manifest."""

    number: int
    run_id: str
    market: str
    customer_count: int
    scored_count: int
    as_of: dt.datetime
    valid_until: dt.datetime
    load_time: dt.datetime
    previous_run_id: str | None
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PredictionCursor:
    """Where a page ended: (rank, customer_id) or (value at risk, customer_id) of its last entry."""

    number: int
    customer_id: str


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """Which customers of a run, in which order; those without a score stand by customer_id."""

    order: PredictionOrder = "PROBABILITY"
    bands: tuple[str, ...] = ()
    value_min: int | None = None
    status: str = SCORED

    def conditions(self, run: ScoringRun) -> list[ColumnElement[bool]]:
        """Give what a row must fulfil."""
        found = [RISKS.c.run_number == run.number]
        # Those with a score have a rank, which stands in the index; the others have an index of their own.
        found += [RISKS.c.rank.is_not(None)] if self.status == SCORED else [RISKS.c.status == self.status]
        if self.status != SCORED:
            found.append(RISKS.c.status != SCORED)
        if self.bands:
            found.append(RISKS.c.band.in_(self.bands))
        if self.value_min is not None:
            found.append(RISKS.c.value_at_risk_minor >= self.value_min)
        return found

    def ordered(self, wanted: Select[Any], after: PredictionCursor | None) -> Select[Any]:
        """Put a query into the order, beginning after a place."""
        if self.status != SCORED:
            wanted = wanted.where(RISKS.c.customer_id > after.customer_id) if after else wanted
            return wanted.order_by(RISKS.c.customer_id)
        if self.order == "PROBABILITY":
            wanted = wanted.where(RISKS.c.rank > after.number) if after else wanted
            return wanted.order_by(RISKS.c.rank)
        if after:
            less = RISKS.c.value_at_risk_minor < after.number
            same = (RISKS.c.value_at_risk_minor == after.number) & (RISKS.c.customer_id > after.customer_id)
            # The first condition follows from the second; it is what an index can begin with.
            wanted = wanted.where(RISKS.c.value_at_risk_minor <= after.number, less | same)
        return wanted.order_by(RISKS.c.value_at_risk_minor.desc(), RISKS.c.customer_id)


class PredictionStore:
    """Reads runs. A run never changes once it is there, but for customers who are erased."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find_newest_run(self, market: str) -> ScoringRun | None:
        """Give the market's run with the latest cut; of two with the same cut, the one loaded last."""
        with self.database.reading() as connection:
            return find_newest_run(connection, market)

    def read_newest_runs(self) -> list[ScoringRun]:
        """Give the newest run of every market, by market."""
        with self.database.reading() as connection:
            markets = connection.execute(select(RUNS.c.market).where(RUNS.c.state == LOADED).distinct()).scalars()
            found = [find_newest_run(connection, market) for market in sorted(markets)]
        return [run for run in found if run is not None]

    def read_run(self, number: int, market: str) -> ScoringRun:
        """Give a run by its number.

        Raises:
            ResyncRequired: It is no longer kept.
        """
        with self.database.reading() as connection:
            found = find_first_run(connection, RUNS.c.run_number == number, RUNS.c.market == market)
        if found is None:
            raise ResyncRequired("the run is no longer kept; begin again without a token", market=market)
        return found

    def find_prediction(self, run: ScoringRun, customer_id: str) -> Row[Any] | None:
        """Give one customer of a run."""
        wanted = select(RISKS).where(RISKS.c.run_number == run.number, RISKS.c.customer_id == customer_id)
        with self.database.reading() as connection:
            return connection.execute(wanted).first()

    def find_predictions(self, run: ScoringRun, customer_ids: Sequence[str]) -> dict[str, Row[Any]]:
        """Give some customers of a run, by customer_id, as far as it has them."""
        wanted = select(*LIST_COLUMNS).where(RISKS.c.run_number == run.number, RISKS.c.customer_id.in_(customer_ids))
        with self.database.reading() as connection:
            return {row.customer_id: row for row in connection.execute(wanted)}

    def count_predictions(self, run: ScoringRun, wanted: PredictionQuery) -> int:
        """Count the customers of a list."""
        with self.database.reading() as connection:
            count = select(func.count()).select_from(RISKS).where(*wanted.conditions(run))
            return int(connection.execute(count).scalar_one())

    def read_page(
        self, run: ScoringRun, wanted: PredictionQuery, after: PredictionCursor | None, size: int
    ) -> list[Row[Any]]:
        """Give the next customers of a list, at most `size`.

        Raises:
            ResyncRequired: The run is no longer kept.
        """
        page = wanted.ordered(select(*LIST_COLUMNS).where(*wanted.conditions(run)), after).limit(size)
        with self.database.reading() as connection:
            rows = list(connection.execute(page).all())
            check_available(connection, run)
        return rows

    def read_export_chunk(self, run: ScoringRun, number: int) -> tuple[bytes, bool]:
        """Give a part of the export, and whether it is the last.

        Raises:
            ResyncRequired: The run is no longer kept.
        """
        parts = select(RISK_CHUNKS.c.chunk, RISK_CHUNKS.c.content).where(RISK_CHUNKS.c.run_number == run.number)
        last = select(func.max(RISK_CHUNKS.c.chunk)).where(RISK_CHUNKS.c.run_number == run.number)
        with self.database.reading() as connection:
            found = connection.execute(parts.where(RISK_CHUNKS.c.chunk == number)).first()
            is_last = number == connection.execute(last).scalar()
            check_available(connection, run)
        if found is None:
            raise ResyncRequired("the run has no such part; begin again without a token", market=run.market)
        return bytes(found.content), is_last


def check_available(connection: Connection, *runs: ScoringRun) -> None:
    """Refuse what was read of a run that is being removed.

    Asked after reading: a run's state changes before the first of its rows goes, so what was read before
    was whole.

    Raises:
        ResyncRequired: A run is no longer kept.
    """
    numbers = {run.number for run in runs}
    kept = select(func.count()).select_from(RUNS).where(RUNS.c.run_number.in_(numbers), RUNS.c.state == LOADED)
    if connection.execute(kept).scalar_one() != len(numbers):
        raise ResyncRequired("the run is no longer kept; begin again without a token", market=runs[0].market)


def find_newest_run(connection: Connection, market: str) -> ScoringRun | None:
    """Give the market's newest run."""
    return find_first_run(connection, RUNS.c.market == market)


def find_run_before(connection: Connection, market: str, as_of: dt.datetime) -> ScoringRun | None:
    """Give the market's newest run with an earlier cut."""
    return find_first_run(connection, RUNS.c.market == market, RUNS.c.as_of < as_of)


def find_first_run(connection: Connection, *conditions: ColumnElement[bool]) -> ScoringRun | None:
    """Give the newest of the runs that fit."""
    wanted = select(RUNS).where(RUNS.c.state == LOADED, *conditions).order_by(*NEWEST_FIRST).limit(1)
    found = connection.execute(wanted).first()
    if found is None:
        return None
    return ScoringRun(
        found.run_number,
        found.run_id,
        found.market,
        found.customer_count,
        found.scored_count,
        utc(found.as_of),
        utc(found.valid_until),
        utc(found.load_time),
        found.previous_run_id,
        json.loads(found.header),
    )
