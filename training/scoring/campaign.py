"""Determines the customers whom the CRM must not contact: the hold-out group, and suppressed customers.

These customers are scored like all other customers.
"""

import datetime as dt
import hashlib
from pathlib import Path

import duckdb

from models.identifiers import CODE_PATTERN
from training.errors import DataInvalid
from training.sources.transaction_log import check_columns, table_source
from training.spec import CampaignSpec

_HOLD_OUT_BUCKETS = 10_000


def in_hold_out(campaign: CampaignSpec, market: str, customer_id: str) -> bool:
    """Return whether a customer is in the hold-out group of a campaign. The result is the same in every run."""
    # The hash covers the name of the campaign, so that successive campaigns have different hold-out groups.
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
    try:
        source, digest = table_source(path, ("market", "customer_id", "code"))
        wanted = {f"column {name}": name for name in ("market", "customer_id", "code")}
        check_columns(connection, source, wanted, f"{path}: the suppression list")
        present = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]  # noqa: S608 - quoted
        last_day = "CAST(until AS DATE)" if "until" in present else "CAST(NULL AS DATE)"
        entries = f"SELECT CAST(market AS VARCHAR) AS market, CAST(customer_id AS VARCHAR) AS customer_id, CAST(code AS VARCHAR) AS code, {last_day} AS last_day FROM {source}"  # noqa: S608 - quoted
        invalid = connection.execute(
            f"SELECT COUNT(*) FROM ({entries}) WHERE market IS NULL OR customer_id IS NULL OR code IS NULL"  # noqa: S608 - ours
            f" OR NOT regexp_full_match(code, '{CODE_PATTERN}')"
        ).fetchall()[0][0]
        if invalid:
            raise DataInvalid(
                f"{path}: every row must have a market, a customer_id and a code such as DO_NOT_CONTACT, got {invalid} other "
                "rows; correct or remove these rows"
            )
        connection.execute(
            f"""INSERT INTO suppressed SELECT market, customer_id, LIST_SORT(LIST(DISTINCT code)) FROM ({entries})
            WHERE last_day IS NULL OR last_day >= $at GROUP BY market, customer_id""",  # noqa: S608 - ours
            {"at": at},
        )
    except duckdb.Error as error:
        raise DataInvalid(f"{path}: cannot be read as a suppression list: {error}") from error
    return digest
