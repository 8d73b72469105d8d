"""The status table: customers whose relationship ended for a reason other than churn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from training.errors import DataInvalid, quote_name, shorten_list
from training.sources.reader.casts import key_cast, text_cast, time_cast
from training.sources.reader.column_summary import ColumnSummary
from training.sources.reader.joined_lines import count_rows
from training.sources.reader.raw_table import RawTable, open_file, quote_literal, read_strictly
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.spec import StatusSpec

_SHOWN = 5
# The customers without a line, and a customer with lines who differs only in leading zeros.
_WITHOUT_LINE = """SELECT statuses.customer_id, MIN(known.customer_id) FROM (SELECT DISTINCT customer_id FROM statuses) AS statuses
    LEFT JOIN (SELECT DISTINCT customer_id FROM valid_lines) AS known
    ON ltrim(known.customer_id, '0') = ltrim(statuses.customer_id, '0')
    WHERE statuses.customer_id IS NOT NULL AND statuses.customer_id NOT IN (SELECT customer_id FROM valid_lines)
    GROUP BY statuses.customer_id ORDER BY statuses.customer_id"""


@dataclass(frozen=True, slots=True)
class StatusTable:
    """What a status table contains.

    Attributes:
        digest: SHA-256 of the file.
        summary: A line for the summary of the columns.
    """

    digest: str
    summary: ColumnSummary


def read_statuses(
    connection: duckdb.DuckDBPyConnection, spec: StatusSpec | None, path: Path | None, temporary: Path
) -> StatusTable | None:
    """Create the table `statuses`, which is empty without a status table; return what the status table contains.

    Args:
        connection: The database with the table `valid_lines`.
        spec: The [status] of the spec.
        path: The status table; None if there is none.
        temporary: Folder for temporary files.

    Raises:
        SpecInvalid: The status table lacks a column.
        DataInvalid: A market is invalid, or a customer has two statuses from the same day.
    """
    connection.execute("CREATE TABLE statuses (market VARCHAR, customer_id VARCHAR, status VARCHAR, since DATE)")
    if path is None:
        return None
    spec = spec or StatusSpec()
    mapped = {"customer_id": spec.customer_id, "status": spec.status, "since": spec.since}
    if spec.market:
        mapped["market"] = spec.market
    source = open_file(path, spec, temporary, set(), "--status")
    source.require({f"status.{role}": name for role, name in mapped.items()})
    market = key_cast(source, spec.market, "status.market", "market", spec.missing) if spec.market else None
    casts = [
        key_cast(source, spec.customer_id, "status.customer_id", "customer", spec.missing),
        text_cast(source, spec.status, "status.status", spec.missing),
        time_cast(source, spec.since, "status.since", spec, market.value if market else "NULL", spec.missing),
        *([market] if market else []),
    ]
    customer_id, status, since = (cast.value for cast in casts[:3])
    meanings = " ".join(f"WHEN {quote_literal(value)} THEN '{ended}'" for value, ended in spec.names.items())
    known = ", ".join(quote_literal(value) for value in spec.names) or "NULL"

    def insert(table: RawTable) -> list[tuple[str, int]]:
        refuse_unreadable(table, spec, find_unreadable(connection, table, casts), count_rows(connection, table))
        connection.execute(
            f"""INSERT INTO statuses SELECT {market.value if market else "NULL"}, {customer_id},
            CASE {status} {meanings} ELSE 'ACTIVE' END, CAST({since} AS DATE) FROM {table.sql}
            WHERE {" AND ".join(f"({cast.problem}) IS NULL" for cast in casts)}"""  # noqa: S608 - constant names, quoted text
        )
        return connection.execute(
            f"""SELECT {status} AS value, COUNT(*) FROM {table.sql} WHERE {status} NOT IN ({known})
            GROUP BY value ORDER BY COUNT(*) DESC, value"""  # noqa: S608 - constant names, quoted text
        ).fetchall()

    others = read_strictly(source, temporary, insert)
    _check_duplicates(connection, path, spec)
    return StatusTable(source.digest, ColumnSummary("[status]", "statuses", _details(connection, others)))


def _check_duplicates(connection: duckdb.DuckDBPyConnection, path: Path, spec: StatusSpec) -> None:
    """Raise DataInvalid if a customer has two statuses from the same day."""
    duplicates = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM statuses GROUP BY market, customer_id, since HAVING COUNT(*) > 1)"
    ).fetchall()[0][0]
    if duplicates:
        raise DataInvalid(
            f"{path}: a customer must have at most one status for each day in {quote_name(spec.since)}; {duplicates} customers have "
            "several; remove the duplicates"
        )


def _details(connection: duckdb.DuckDBPyConnection, others: Sequence[tuple[str, int]]) -> str:
    """Return how many rows a status table has, and which of them have no effect.

    Args:
        connection: The database with the tables `valid_lines` and `statuses`.
        others: The values that [status.names] does not contain, and the number of rows of each.
    """
    query = "SELECT COUNT(*), COUNT(*) FILTER (customer_id IS NULL OR since IS NULL) FROM statuses"
    rows, incomplete = connection.execute(query).fetchall()[0]
    details = [f"rows: {rows:,}"]
    if others:
        shown = shorten_list([f"{value!r} ({count:,})" for value, count in others], _SHOWN, "")
        details.append(f"values that mean an active customer, because status.names lacks them: {', '.join(shown)}")
    if unknown := connection.execute(_WITHOUT_LINE).fetchall():
        shown = shorten_list(
            [customer + (f" (the log has {similar})" if similar else "") for customer, similar in unknown], _SHOWN, ""
        )
        details.append(f"customers without a line: {len(unknown):,}: {', '.join(shown)}")
    if incomplete:
        details.append(f"rows without a customer or a day, so without effect: {incomplete:,}")
    return "; ".join(details)
