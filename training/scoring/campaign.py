"""Determines the withheld customers: the hold-out group, and suppressed customers.

These customers are scored like all other customers.
"""

import datetime as dt
import hashlib
from pathlib import Path

import duckdb

from models.identifiers import CODE_PATTERN
from training.errors import DataInvalid, shorten_list
from training.sources.reader.casts import ColumnCast, key_cast, text_cast, time_cast
from training.sources.reader.joined_lines import count_rows
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.sources.transaction_log import database_folder
from training.spec import CampaignSpec, ReadingSpec
from training.spec.reading import ALL_YEARS

_HOLD_OUT_BUCKETS = 10_000
_READING = ReadingSpec(years=ALL_YEARS)  # a suppression without end may have the day 9999-12-31
_UNMATCHED_SHOWN = 5
_UNMATCHED = {
    "suppressed": "suppressed customers do not occur in the data, so they suppress nobody",
    "key_accounts": "key accounts do not occur in the data, so they exempt nobody from the hold-out",
}


def in_hold_out(campaign: CampaignSpec, market: str, customer_id: str) -> bool:
    """Return whether a customer is in the hold-out group of a campaign. The result is the same in every run."""
    # The name of the campaign is part of the hash, so that successive campaigns have different hold-out groups.
    digest = hashlib.sha256(f"{market}|{customer_id}|{campaign.name}".encode()).hexdigest()
    return int(digest, 16) % _HOLD_OUT_BUCKETS < round(campaign.hold_out_share * _HOLD_OUT_BUCKETS)


def read_suppressions(connection: duckdb.DuckDBPyConnection, path: Path | None, at: dt.date) -> str:
    """Create the table `suppressed` (market, customer_id, suppressions) from a suppression list.

    Args:
        connection: The database in which to create the table.
        path: Path of a Parquet or CSV file with the columns market, customer_id, code and optionally until. `until` is
            the last day on which the suppression applies; it is empty if the suppression has no end. If the path is
            None, no customer is suppressed.
        at: Day of the scoring run; suppressions that ended earlier are ignored.

    Returns:
        The SHA-256 of the file, or "" without a file.

    Raises:
        SpecInvalid: The file lacks a column.
        DataInvalid: The file is unreadable, or a row is invalid.
    """
    connection.execute("CREATE TABLE suppressed (market VARCHAR, customer_id VARCHAR, suppressions VARCHAR[])")
    if path is None:
        return ""
    source = open_file(path, _READING, database_folder(connection), set(), "--suppress")
    source.require({f"column {name}": name for name in ("market", "customer_id", "code")})
    casts = {
        "market": key_cast(source, "market", "suppress.market", "market"),
        "customer_id": key_cast(source, "customer_id", "suppress.customer_id", "customer"),
        "code": text_cast(source, "code", "suppress.code"),
    }
    if source.find("until") is not None:
        casts["last_day"] = time_cast(source, "until", "suppress.until", _READING, "NULL")
    read_strictly(source, database_folder(connection), lambda table: _insert_entries(connection, table, casts, at))
    return source.digest


def read_key_accounts(connection: duckdb.DuckDBPyConnection, path: Path | None) -> str:
    """Create the table `key_accounts` (market, customer_id) from the file that [campaign] specifies.

    Returns:
        The SHA-256 of the file, or "" without a file.

    Raises:
        SpecInvalid: The file lacks a column.
        DataInvalid: The file is unreadable, or a row lacks the market or the customer.
    """
    connection.execute("CREATE TABLE key_accounts (market VARCHAR, customer_id VARCHAR)")
    if path is None:
        return ""
    source = open_file(path, _READING, database_folder(connection), set(), "campaign.key_accounts")
    source.require({f"column {name}": name for name in ("market", "customer_id")})
    casts = [
        key_cast(source, "market", "key_accounts.market", "market"),
        key_cast(source, "customer_id", "key_accounts.customer_id", "customer"),
    ]

    def insert(table: RawTable) -> None:
        refuse_unreadable(table, _READING, find_unreadable(connection, table, casts), count_rows(connection, table))
        columns = ", ".join(cast.value for cast in casts)
        connection.execute(f"INSERT INTO key_accounts SELECT DISTINCT {columns} FROM {table.sql}")  # noqa: S608 - names are quoted

    read_strictly(source, database_folder(connection), insert)
    query = "SELECT COUNT(*) FROM key_accounts WHERE market IS NULL OR customer_id IS NULL"
    if invalid := connection.execute(query).fetchall()[0][0]:
        raise DataInvalid(
            f"{path}: every row must have a market and a customer_id, got {invalid} other rows; correct or remove these rows"
        )
    return source.digest


def _insert_entries(
    connection: duckdb.DuckDBPyConnection, table: RawTable, casts: dict[str, ColumnCast], at: dt.date
) -> None:
    """Insert the suppressions that apply on a day into the table `suppressed`."""
    unreadable = find_unreadable(connection, table, casts.values())
    refuse_unreadable(table, _READING, unreadable, count_rows(connection, table))
    last_day = f"CAST({casts['last_day'].value} AS DATE)" if "last_day" in casts else "CAST(NULL AS DATE)"
    values = ", ".join(f"{casts[name].value} AS {name}" for name in ("market", "customer_id", "code"))
    entries = f"SELECT {values}, {last_day} AS last_day FROM {table.sql}"  # noqa: S608 - names are quoted
    invalid = connection.execute(
        f"SELECT COUNT(*) FROM ({entries}) WHERE market IS NULL OR customer_id IS NULL OR code IS NULL"  # noqa: S608 - names are quoted
        f" OR NOT regexp_full_match(code, '{CODE_PATTERN}')"
    ).fetchall()[0][0]
    if invalid:
        raise DataInvalid(
            f"{table.name}: every row must have a market, a customer_id and a code such as DO_NOT_CONTACT, got {invalid} other "
            "rows; correct or remove these rows"
        )
    connection.execute(
        f"""INSERT INTO suppressed SELECT market, customer_id, LIST_SORT(LIST(DISTINCT code)) FROM ({entries})
        WHERE last_day IS NULL OR last_day >= $at GROUP BY market, customer_id""",  # noqa: S608 - names are quoted
        {"at": at},
    )


def unmatched_customers(connection: duckdb.DuckDBPyConnection, listed: str, known: str) -> tuple[int, str]:
    """Return the number of listed customers that do not occur in the data, and a sentence about them.

    The sentence is "" if there are none.

    Args:
        connection: The database.
        listed: `suppressed` or `key_accounts`, the table with the customers of a list.
        known: Table or view with every customer of the data.
    """
    query = f"""SELECT listed.market, listed.customer_id, MIN(known.customer_id) FROM {listed} AS listed
        LEFT JOIN (SELECT DISTINCT market, customer_id FROM {known}) AS known
            ON known.market = listed.market AND ltrim(known.customer_id, '0') = ltrim(listed.customer_id, '0')
        WHERE (listed.market, listed.customer_id) NOT IN (SELECT (market, customer_id) FROM {known})
        GROUP BY ALL ORDER BY ALL"""  # noqa: S608 - names of tables and views
    rows = connection.execute(query).fetchall()
    if not rows:
        return 0, ""
    shown = [
        f"{market} {customer}" + (f" (the data have {similar})" if similar else "")
        for market, customer, similar in rows
    ]
    examples = ", ".join(shorten_list(shown, _UNMATCHED_SHOWN, ""))
    return len(rows), f"{len(rows):,} {_UNMATCHED[listed]}: {examples}; check their numbers"
