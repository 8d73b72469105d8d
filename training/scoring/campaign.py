"""Whom the CRM must leave alone: the hold-out, and customers suppressed for a reason. Both are scored all the same."""

import datetime as dt
import hashlib
from pathlib import Path

import duckdb

from training.errors import DataInvalid
from training.sources.transaction_log import check_columns, table_source
from training.spec import CampaignSpec

_HOLD_OUT_BUCKETS = 10_000


def in_hold_out(campaign: CampaignSpec, market: str, customer_id: str) -> bool:
    """Say whether a customer is in the hold-out of a campaign: the same in every run and on every machine."""
    digest = hashlib.sha256(f"{market}|{customer_id}|{campaign.name}".encode()).hexdigest()
    return int(digest, 16) % _HOLD_OUT_BUCKETS < round(campaign.hold_out_share * _HOLD_OUT_BUCKETS)


def read_suppressions(connection: duckdb.DuckDBPyConnection, path: Path | None, at: dt.date) -> str:
    """Make the table `suppressed`: market, customer_id, codes. Gives the digest of the file, "" without one.

    The file, Parquet or CSV, has the columns market, customer_id, code and perhaps until: the last day on which the
    reason holds, empty for ever.

    Raises:
        DataInvalid: It cannot be read, or a code is none.
    """
    connection.execute("CREATE TABLE suppressed (market VARCHAR, customer_id VARCHAR, suppressions VARCHAR[])")
    if path is None:
        return ""
    try:
        source, digest = table_source(path, ("market", "customer_id", "code"))
        wanted = {f"column {name}": name for name in ("market", "customer_id", "code")}
        check_columns(connection, source, wanted, f"{path}: the suppression list")
        there = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]  # noqa: S608 - quoted
        last_day = "CAST(until AS DATE)" if "until" in there else "CAST(NULL AS DATE)"
        listed = f"SELECT CAST(market AS VARCHAR) AS market, CAST(customer_id AS VARCHAR) AS customer_id, CAST(code AS VARCHAR) AS code, {last_day} AS last_day FROM {source}"  # noqa: S608 - quoted
        odd = connection.execute(
            f"SELECT COUNT(*) FROM ({listed}) WHERE market IS NULL OR customer_id IS NULL OR code IS NULL"  # noqa: S608 - ours
            " OR NOT regexp_full_match(code, '[A-Z][A-Z0-9_]{0,62}')"
        ).fetchall()[0][0]
        if odd:
            raise DataInvalid(f"{path}: {odd} rows lack market or customer, or their code is not like DO_NOT_CONTACT")
        connection.execute(
            f"""INSERT INTO suppressed SELECT market, customer_id, LIST_SORT(LIST(DISTINCT code)) FROM ({listed})
            WHERE last_day IS NULL OR last_day >= $at GROUP BY market, customer_id""",  # noqa: S608 - ours
            {"at": at},
        )
    except duckdb.Error as error:
        raise DataInvalid(f"{path}: cannot be read as a suppression list: {error}") from error
    return digest
