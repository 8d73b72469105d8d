"""Shows the facts about an unknown table in the terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from training.errors import quote_name
from training.inspection.column_facts import ColumnFacts, TableFacts
from training.inspection.column_roles import ColumnRoles

_CHARACTERS = 40


def facts_table(facts: TableFacts, roles: ColumnRoles, leaks: Mapping[str, str]) -> Table:
    """Return the terminal table with a row for each column of the file."""
    table = Table(title=f"{facts.name}: {facts.rows:,} rows, {len(facts.columns)} columns", title_justify="left")
    for heading in ("column", "type", "missing", "distinct", "values", "perhaps", "first odd value"):
        table.add_column(heading, justify="right" if heading in {"missing", "distinct"} else "left", overflow="fold")
    for column in facts.columns:
        shown = column.kind if column.declared == "text" else f"{column.kind} ({column.declared})"
        odd = f"{column.first_odd} ({column.odd:,})" if column.odd else ""
        table.add_row(
            column.name,
            shown,
            f"{column.missing:,}" if column.missing else "",
            f"{column.distinct:,}",
            _values(column),
            ", ".join(_candidates(column, roles, leaks)),
            odd,
        )
    return table


def fact_lines(facts: TableFacts, roles: ColumnRoles, leaks: Mapping[str, str]) -> Iterator[str]:
    """Yield sentences about the table as a whole."""
    yield facts.confirmation
    if roles.is_log:
        yield "the file looks like a transaction log: customers have several rows, and there is no outcome"
    for column in facts.columns:
        if column.kind == "time" and len(column.time_formats) > 1:
            yield (
                f"column {quote_name(column.name)}: {column.examples[0]!r} can be read as {' or '.join(map(repr, column.time_formats))}; set "
                "time_format in the spec"
            )
    for name, reason in leaks.items():
        yield f"column {quote_name(name)} is suspected to state the outcome: {reason}"


def facts_document(facts: TableFacts, roles: ColumnRoles, leaks: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts as a JSON document."""
    return {
        **asdict(facts),
        "roles": asdict(roles),
        "suspected_leaks": dict(leaks),
    }


def _values(column: ColumnFacts) -> str:
    """Return the range or the first values of a column."""
    if column.kind in {"number", "time"}:
        return f"{column.low} to {column.high}"
    shown = ", ".join(column.examples) + (", ..." if column.distinct > len(column.examples) else "")
    return shown if len(shown) <= _CHARACTERS else f"{shown[:_CHARACTERS]}..."


def _candidates(column: ColumnFacts, roles: ColumnRoles, leaks: Mapping[str, str]) -> Iterator[str]:
    """Yield the roles that a column may have."""
    for role in ("customer", "label", "time", "market", "money"):
        if column.name in getattr(roles, role):
            yield role
    if column.name in leaks:
        yield "a leak"
