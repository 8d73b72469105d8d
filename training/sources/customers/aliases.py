"""Assigns the lines of customers who moved or merged to the successors of these customers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from training.errors import DataInvalid, shorten_list
from training.sources.reader.casts import key_cast
from training.sources.reader.column_summary import ColumnSummary
from training.sources.reader.joined_lines import count_rows
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.spec import AliasSpec

_SHOWN = 5
# The customers of `alias_rows` without a line, and a customer with lines who differs only in leading zeros.
_UNMATCHED = """SELECT {role}, MIN(customer_id) FILTER (customer_id <> {role}) FROM alias_rows LEFT JOIN (
        SELECT DISTINCT market AS log_market, customer_id, ltrim(customer_id, '0') AS plain FROM classified_lines
        WHERE ltrim(customer_id, '0') IN (SELECT ltrim({role}, '0') FROM alias_rows)
    ) ON plain = ltrim({role}, '0') AND COALESCE(market, log_market) = log_market
    GROUP BY market, {role} HAVING COUNT(*) FILTER (customer_id = {role}) = 0 ORDER BY market, {role}"""
_Customer = tuple[str | None, str]  # (market, customer); the market is None if the alias applies to every market


@dataclass(frozen=True, slots=True)
class AppliedAliases:
    """What an alias table changed.

    Attributes:
        digest: SHA-256 of the alias table.
        lines: Number of lines whose customer was replaced.
        summary: A line for the summary of the columns.
    """

    digest: str
    lines: int
    summary: ColumnSummary


def apply_aliases(
    connection: duckdb.DuckDBPyConnection, spec: AliasSpec, folder: Path, temporary: Path
) -> AppliedAliases:
    """Replace each customer of the table `classified_lines` with the last successor of that customer.

    The table `successors` (market, old, new) is created, with the last successor of each customer who moved or merged.

    Args:
        connection: The database with the table.
        spec: The [aliases] of the spec.
        folder: Folder of the spec file.
        temporary: Folder for temporary files.

    Raises:
        SpecInvalid: The alias table lacks a column.
        DataInvalid: A customer has several successors, or customers are successors of each other.
    """
    table = open_file(folder / spec.path, spec, temporary, set(), "[aliases] path")
    names = {"customer_id": spec.customer_id, "successor": spec.successor}
    names |= {"market": spec.market} if spec.market else {}
    table.require({f"aliases.{role}": name for role, name in names.items()})
    casts = {
        role: key_cast(table, name, f"aliases.{role}", "market" if role == "market" else "customer", spec.missing)
        for role, name in names.items()
    }
    market = casts["market"].value if spec.market else "CAST(NULL AS VARCHAR)"
    query = f"SELECT DISTINCT {market}, {casts['customer_id'].value}, {casts['successor'].value}"

    def read(readable: RawTable) -> list[tuple[str | None, str | None, str | None]]:
        count_rows(connection, readable)
        return connection.execute(f"{query} FROM {readable.sql}").fetchall()

    rows = read_strictly(table, temporary, read)
    refuse_unreadable(table, spec, find_unreadable(connection, table, casts.values()), len(rows))
    last = _last_successors(_successors(table.name, rows))
    pairs = [(market, old, new) for (market, old), new in sorted(last.items(), key=str)]
    names_of_rows = ("market", "old", "new")
    connection.register(
        "alias_rows",
        pa.table(
            {
                name: pa.array([pair[position] for pair in pairs], pa.string())
                for position, name in enumerate(names_of_rows)
            }
        ),
    )
    unmatched, new = (connection.execute(_UNMATCHED.format(role=role)).fetchall() for role in ("old", "new"))
    misspelt = [(customer, similar) for customer, similar in new if similar]
    connection.execute("CREATE TABLE successors AS SELECT * FROM alias_rows")
    connection.unregister("alias_rows")
    replaced = connection.execute(
        """UPDATE classified_lines SET customer_id = successors.new FROM successors
        WHERE classified_lines.customer_id = successors.old
        AND COALESCE(successors.market, classified_lines.market) = classified_lines.market"""
    ).fetchall()[0][0]
    incomplete = sum(old is None or new is None for _, old, new in rows)
    detail = _details(len(last), unmatched, misspelt, incomplete)
    return AppliedAliases(table.digest, int(replaced), ColumnSummary("[aliases]", "successors", detail))


def _details(
    count: int,
    unmatched: Sequence[tuple[str, str | None]],
    misspelt: Sequence[tuple[str, str | None]],
    incomplete: int,
) -> str:
    """Return how many customers an alias table lists, and which of them do not occur in the log.

    Args:
        count: Number of customers with a successor.
        unmatched: The customers without a line, and for each a similar customer who has lines, if there is one.
        misspelt: The successors without a line to whom a customer with lines is similar, and this customer.
        incomplete: Number of rows without a customer or a successor.
    """
    details = [f"customers with a successor: {count:,}"]
    if unmatched:
        details.append(f"{len(unmatched):,} of them have no line, so nothing moves: {_examples(unmatched)}")
    if misspelt:
        details.append(f"successors who may be spelt wrong: {_examples(misspelt)}")
    return "; ".join([*details, f"rows without a customer or a successor: {incomplete:,}"] if incomplete else details)


def _examples(customers: Sequence[tuple[str, str | None]]) -> str:
    """Return the first customers, each with the similar customer of the log."""
    shown = [customer + (f" (the log has {similar})" if similar else "") for customer, similar in customers]
    return ", ".join(shorten_list(shown, _SHOWN, ""))


def _successors(name: str, rows: list[tuple[str | None, str | None, str | None]]) -> dict[_Customer, str]:
    """Return the successor of each customer; a row in which a customer is their own successor is ignored."""
    found: dict[_Customer, str] = {}
    several = set()
    for market, old, new in rows:
        if old is None or new is None or old == new:
            continue
        if found.setdefault((market, old), new) != new:
            several.add(old)
    if several:
        raise DataInvalid(
            f"{name}: {len(several):,} customers have several successors, such as {', '.join(sorted(several)[:_SHOWN])}; keep "
            "one successor for each customer"
        )
    return found


def _last_successors(successors: Mapping[_Customer, str]) -> dict[_Customer, str]:
    """Return the last customer of the chain that begins at each customer.

    Raises:
        DataInvalid: A chain is a cycle.
    """
    last = {}
    for market, old in successors:
        chain = [old]
        while (following := successors.get((market, chain[-1]))) is not None:
            if following in chain:
                listed = " -> ".join([*chain[chain.index(following) :], following])
                raise DataInvalid(
                    f"aliases: customers are successors of each other: {listed}; remove one of these rows"
                )
            chain.append(following)
        last[market, old] = chain[-1]
    return last
