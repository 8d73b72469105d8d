"""Reads scoring runs and their predictions: single customers, lists page by page, and chunks of the export.

Readers never see an incomplete run. `load` publishes a run in one transaction. After reading, a reader calls
`check_available`, which raises an error if the run was being pruned in the meantime.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, TextClause, and_, func, not_, select, text

from server.errors import FamilyRequired, ResyncRequired
from server.stores.database import Database
from server.stores.features import utc
from server.stores.tables import IS_UNSCORED, IS_WITHHELD, RISK_CHUNKS, RISKS, RUNS

PredictionOrder = Literal["PROBABILITY", "VALUE_AT_RISK"]
_DEFAULT_FAMILY = "churn"  # the family of requests that name none
SCORED = "SCORED"
_COUNTS_KEPT_MAX = 1000
LOADING, LOADED, PRUNING = "LOADING", "LOADED", "PRUNING"  # the states of a run
_HAS_FAMILY = RUNS.c.family.is_not(None)  # see server.stores.runs.publication.fill_families
NEWEST_FIRST = (RUNS.c.as_of.desc(), RUNS.c.load_time.desc(), RUNS.c.run_number.desc())
# Lists do not contain features and contributions, because explanations are read one customer at a time.
LIST_COLUMNS = tuple(column for column in RISKS.c if column.name not in {"features", "contributions"})


@dataclass(frozen=True, slots=True)
class ScoringRun:
    """A published run of one family in one market.

    Attributes:
        number: Run number that the database assigned.
        run_id: Id of the run, 32 hexadecimal digits.
        market: The market.
        family: The model family.
        customer_count: Number of customers.
        scored_count: Number of customers with a score.
        as_of: As-of time: the predictions use data up to this time.
        valid_until: Time until which the predictions are valid.
        load_time: Time at which the run was published.
        previous_run_id: Id of the run whose bands were the previous bands of this run; None if there was no earlier
            run.
        manifest: Manifest of the run file.
    """

    number: int
    run_id: str
    market: str
    family: str
    customer_count: int
    scored_count: int
    as_of: dt.datetime
    valid_until: dt.datetime
    load_time: dt.datetime
    previous_run_id: str | None
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BandCounts:
    """The number of customers in each band of a run.

    Attributes:
        run: The run.
        counts: Number of customers by band. A band without customers is omitted.
    """

    run: ScoringRun
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class BandHistory:
    """The number of customers in each band, of the newest runs of a family in a market.

    Attributes:
        runs: The runs, the newest first.
        kept_count: Number of runs that are kept, counted or not.
    """

    runs: list[BandCounts]
    kept_count: int


@dataclass(frozen=True, slots=True)
class PredictionCursor:
    """The last entry of a page: its rank or value at risk, depending on the order of the list, and its customer_id."""

    number: int
    customer_id: str


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """The filters and the order of a list of customers.

    Attributes:
        order: Order of customers with a score. Customers without a score are sorted by customer_id.
        bands: Risk bands to list; all bands if empty.
        value_min: Minimum value at risk in minor units; None for no minimum.
        withheld: Whether to list withheld customers too.
        status: SCORED to list customers with a score, or else the reason why the listed customers have no score.
    """

    order: PredictionOrder = "PROBABILITY"
    bands: tuple[str, ...] = ()
    value_min: int | None = None
    status: str = SCORED
    withheld: bool = False

    def conditions(self, run: ScoringRun) -> list[ColumnElement[bool] | TextClause]:
        """Return the conditions on rows of RISKS."""
        found: list[ColumnElement[bool] | TextClause] = [RISKS.c.run_number == run.number]
        # A customer has a rank if and only if the customer has a score. Each condition allows the database to use an
        # index.
        found += [RISKS.c.rank.is_not(None)] if self.status == SCORED else [RISKS.c.status == self.status]
        if self.status != SCORED:
            found.append(text(IS_UNSCORED))
        if not self.withheld:
            found.append(contactable_condition(RISKS))
        if self.bands:
            found.append(RISKS.c.band.in_(self.bands))
        if self.value_min is not None:
            found.append(RISKS.c.value_at_risk_minor >= self.value_min)
        return found

    def order_by(self, statement: Select[Any], after: PredictionCursor | None) -> Select[Any]:
        """Return the statement sorted in the order of the list, and limited to rows after a cursor."""
        if self.status != SCORED:
            statement = statement.where(RISKS.c.customer_id > after.customer_id) if after else statement
            return statement.order_by(RISKS.c.customer_id)
        if self.order == "PROBABILITY":
            statement = statement.where(RISKS.c.rank > after.number) if after else statement
            return statement.order_by(RISKS.c.rank)
        if after:
            less = RISKS.c.value_at_risk_minor < after.number
            same = (RISKS.c.value_at_risk_minor == after.number) & (RISKS.c.customer_id > after.customer_id)
            # The second condition implies the first, but the database needs the first for the index search.
            statement = statement.where(RISKS.c.value_at_risk_minor <= after.number, less | same)
        return statement.order_by(RISKS.c.value_at_risk_minor.desc(), RISKS.c.customer_id)


def contactable_condition(risks: FromClause) -> ColumnElement[bool]:
    """Return the condition on rows of RISKS, or of an alias, that the customer is not withheld."""
    return and_(not_(risks.c.hold_out), risks.c.suppressions == "")


class PredictionStore:
    """Reads published runs, which only change when a customer is erased. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Number of customers by band. The key has the numbers of customers of the run, which an erasure changes too.
        self._band_counts: dict[tuple[int, int, int], dict[str, int]] = {}

    def find_newest_run(self, market: str, family: str = "") -> ScoringRun | None:
        """Return the newest published run of a family in a market; None if there is no run.

        The newest run has the latest as-of time. Of several such runs, it is the run that was loaded last. Without a family,
        it is the family "churn" if the market has a run of it, and otherwise the market's only family.

        Raises:
            FamilyRequired: No family is given, and the market has runs of several other families.
        """
        with self._database.reading() as connection:
            found = [family] if family else _read_families(connection, market)
            if len(found) > 1 and _DEFAULT_FAMILY not in found:
                listed = ", ".join(found)
                raise FamilyRequired(
                    f"market {market} has runs of {listed}; set family", market=market, families=listed
                )
            chosen = _DEFAULT_FAMILY if _DEFAULT_FAMILY in found else next(iter(found), "")
            return find_newest_run(connection, market, chosen)

    def read_newest_runs(self) -> list[ScoringRun]:
        """Return the newest published run of every market and family, sorted by market and family."""
        with self._database.reading() as connection:
            kinds = connection.execute(
                select(RUNS.c.market, RUNS.c.family).where(RUNS.c.state == LOADED, _HAS_FAMILY).distinct()
            ).all()
            found = [find_newest_run(connection, market, family) for market, family in sorted(map(tuple, kinds))]
        return [run for run in found if run is not None]

    def read_run(self, number: int, market: str) -> ScoringRun:
        """Return a run by its number.

        Raises:
            ResyncRequired: The run was pruned.
        """
        with self._database.reading() as connection:
            found = find_first_run(connection, RUNS.c.run_number == number, RUNS.c.market == market)
        if found is None:
            raise ResyncRequired("the run is no longer kept; begin again without a token", market=market)
        return found

    def find_run(self, run_id: str, market: str) -> ScoringRun | None:
        """Return a published run by its id; None if the market has no such run, or it was pruned."""
        with self._database.reading() as connection:
            return find_first_run(connection, RUNS.c.run_id == run_id, RUNS.c.market == market)

    def find_prediction(self, run: ScoringRun, customer_id: str) -> Row[Any] | None:
        """Return the row of one customer in a run; None if the run does not contain the customer."""
        wanted = select(RISKS).where(RISKS.c.run_number == run.number, RISKS.c.customer_id == customer_id)
        with self._database.reading() as connection:
            return connection.execute(wanted).first()

    def find_predictions(self, run: ScoringRun, customer_ids: Sequence[str]) -> dict[str, Row[Any]]:
        """Return the rows of these customers by customer_id. Customers that the run does not contain are omitted."""
        wanted = select(*LIST_COLUMNS).where(RISKS.c.run_number == run.number, RISKS.c.customer_id.in_(customer_ids))
        with self._database.reading() as connection:
            return {row.customer_id: row for row in connection.execute(wanted)}

    def count_predictions(self, run: ScoringRun, query: PredictionQuery) -> int:
        """Return the number of customers in a list."""
        with self._database.reading() as connection:
            count = select(func.count()).select_from(RISKS).where(*query.conditions(run))
            return int(connection.execute(count).scalar_one())

    def count_contactable(self, run: ScoringRun) -> int:
        """Return the number of scored customers who are not withheld. It reads only the index of withheld customers."""
        withheld = select(func.count()).select_from(RISKS)
        withheld = withheld.where(RISKS.c.run_number == run.number, RISKS.c.status == SCORED, text(IS_WITHHELD))
        with self._database.reading() as connection:
            return run.scored_count - int(connection.execute(withheld).scalar_one())

    def count_bands(self, market: str, family: str, count_max: int) -> BandHistory:
        """Return the number of customers in each band, of at most `count_max` runs, the newest first."""
        with self._database.snapshot() as snapshot, snapshot.reading() as connection:
            kept = [RUNS.c.market == market, RUNS.c.family == family, RUNS.c.state == LOADED]
            kept_count = connection.execute(select(func.count()).select_from(RUNS).where(*kept)).scalar_one()
            newest = connection.execute(select(RUNS).where(*kept).order_by(*NEWEST_FIRST).limit(count_max)).all()
            runs = [_run_from_row(row) for row in newest]
            return BandHistory([BandCounts(run, self._counts_of(connection, run)) for run in runs], int(kept_count))

    def _counts_of(self, connection: Connection, run: ScoringRun) -> dict[str, int]:
        """Return the number of customers in each band of a run, which is counted once unless a customer is erased."""
        key = (run.number, run.customer_count, run.scored_count)
        if key not in self._band_counts:
            counts = select(RISKS.c.band, func.count()).where(
                RISKS.c.run_number == run.number, RISKS.c.rank.is_not(None)
            )
            if len(self._band_counts) >= _COUNTS_KEPT_MAX:
                self._band_counts.clear()
            self._band_counts[key] = {
                str(band): int(count) for band, count in connection.execute(counts.group_by(RISKS.c.band))
            }
        return self._band_counts[key]

    def read_page(
        self, run: ScoringRun, query: PredictionQuery, after: PredictionCursor | None, size: int
    ) -> list[Row[Any]]:
        """Return the next rows of a list, at most `size`.

        Raises:
            ResyncRequired: The run was pruned.
        """
        page = query.order_by(select(*LIST_COLUMNS).where(*query.conditions(run)), after).limit(size)
        with self._database.reading() as connection:
            rows = list(connection.execute(page).all())
            check_available(connection, run)
        return rows

    def read_export_chunk(self, run: ScoringRun, number: int) -> tuple[bytes, bool]:
        """Return a chunk of the export, and whether it is the last chunk.

        Raises:
            ResyncRequired: The run was pruned, or it has no chunk with this number.
        """
        parts = select(RISK_CHUNKS.c.chunk, RISK_CHUNKS.c.content).where(RISK_CHUNKS.c.run_number == run.number)
        last = select(func.max(RISK_CHUNKS.c.chunk)).where(RISK_CHUNKS.c.run_number == run.number)
        with self._database.reading() as connection:
            found = connection.execute(parts.where(RISK_CHUNKS.c.chunk == number)).first()
            is_last = number == connection.execute(last).scalar()
            check_available(connection, run)
        if found is None:
            raise ResyncRequired("the run has no such part; begin again without a token", market=run.market)
        return bytes(found.content), is_last


def check_available(connection: Connection, *runs: ScoringRun) -> None:
    """Check that runs are still published. Call this after reading from the runs.

    Pruning changes the state of a run before it deletes the first row. So if the run is still published after reading, the rows
    that were read are complete.

    Raises:
        ResyncRequired: A run was pruned or is being pruned.
    """
    numbers = {run.number for run in runs}
    kept = select(func.count()).select_from(RUNS).where(RUNS.c.run_number.in_(numbers), RUNS.c.state == LOADED)
    if connection.execute(kept).scalar_one() != len(numbers):
        raise ResyncRequired("the run is no longer kept; begin again without a token", market=runs[0].market)


def _read_families(connection: Connection, market: str) -> list[str]:
    """Return the families of a market's published runs, sorted."""
    families = select(RUNS.c.family).where(RUNS.c.market == market, RUNS.c.state == LOADED, _HAS_FAMILY).distinct()
    return sorted(connection.execute(families).scalars())


def find_newest_run(connection: Connection, market: str, family: str) -> ScoringRun | None:
    """Return the newest published run of a family in a market; None if there is no run."""
    return find_first_run(connection, RUNS.c.market == market, RUNS.c.family == family)


def find_run_before(connection: Connection, market: str, family: str, as_of: dt.datetime) -> ScoringRun | None:
    """Return the newest published run of a family in a market whose as-of time is before `as_of`; None if there is none."""
    return find_first_run(connection, RUNS.c.market == market, RUNS.c.family == family, RUNS.c.as_of < as_of)


def find_first_run(connection: Connection, *conditions: ColumnElement[bool]) -> ScoringRun | None:
    """Return the newest published run that meets the conditions; None if there is no such run."""
    wanted = select(RUNS).where(RUNS.c.state == LOADED, *conditions).order_by(*NEWEST_FIRST).limit(1)
    found = connection.execute(wanted).first()
    return None if found is None else _run_from_row(found)


def _run_from_row(found: Row[Any]) -> ScoringRun:
    """Return the run of a row of RUNS."""
    header = json.loads(found.header)
    return ScoringRun(
        found.run_number,
        found.run_id,
        found.market,
        found.family or header["family"],
        found.customer_count,
        found.scored_count,
        utc(found.as_of),
        utc(found.valid_until),
        utc(found.load_time),
        found.previous_run_id,
        header,
    )
