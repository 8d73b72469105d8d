"""Inspects an unknown file: measures its columns, suggests their roles, and writes a starter spec."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grounds_record.printable_text import escape_line
from models.atomic_files import make_folder, write_file
from training.console import Console
from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list
from training.inspection.column_facts import TableFacts, columnar_copy, measure_table
from training.inspection.column_roles import ColumnRoles, suggest_roles
from training.inspection.facts_page import fact_lines, facts_document, facts_table
from training.inspection.starter_spec import starter_spec
from training.inspection.suspected_leaks import suspect_leaks
from training.sources.reader.number_format import AllColumnsExcept
from training.sources.reader.raw_table import RawTable, read_strictly
from training.sources.source_tables import open_source
from training.sources.spec_columns import source_entry
from training.sources.table import read_table_samples
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import read_spec
from training.spec.reading import ReadingSpec

_NAMES_SHOWN = 20
_THREADS = 2
_COLUMNS_MAX = 2_000  # several queries measure each column, which takes minutes in all


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        facts: Facts about the table.
        roles: The probable roles of its columns.
        leaks: For each column that is suspected to contain the outcome, the reason for the suspicion.
    """

    facts: TableFacts
    roles: ColumnRoles
    leaks: Mapping[str, str]


def inspect_file(path: Path, reading: ReadingSpec, customer: str | None = None, label: str | None = None) -> Inspection:
    """Measure a file, a folder or the files of a glob pattern.

    Args:
        path: The file.
        reading: The fields of the format that the user states; the others are detected.
        customer: Column of the customer; None to suggest one.
        label: Column of the outcome; None to suggest one.

    Raises:
        DataInvalid: The file is unreadable, its format is ambiguous, or a stated column does not exist.
    """
    with tempfile.TemporaryDirectory(prefix="grounds-") as folder:
        without_numbers = AllColumnsExcept([name for name in (customer, label) if name is not None])
        table = open_source(path, reading, Path(), Path(folder), without_numbers, option="FILE")
        if len(table.columns) > _COLUMNS_MAX:
            raise DataInvalid(
                f"{table.name}: has {len(table.columns):,} columns, and `inspect` measures at most {_COLUMNS_MAX:,}; inspect a file with "
                "some of them, or write the spec by hand: `fit` reads only the columns that it lists"
            )
        for option, name in (("--customer", customer), ("--label", label)):
            if name is not None and table.find(name) is None:
                listed = ", ".join(
                    shorten_list([quote_name(column.name) for column in table.columns], _NAMES_SHOWN, "")
                )
                raise DataInvalid(f"{option}: {table.name} has no column {quote_name(name)}; use one of {listed}")
        return read_strictly(
            table,
            Path(folder),
            lambda readable: _inspect_table(columnar_copy(readable, Path(folder)), reading, customer, label),
        )


def _inspect_table(table: RawTable, reading: ReadingSpec, customer: str | None, label: str | None) -> Inspection:
    """Measure a table; see `inspect_file`."""
    facts = measure_table(table, reading)
    roles = suggest_roles(facts, customer, label)
    if not roles.label or not roles.bad:
        return Inspection(facts, roles, {})
    leaks = suspect_leaks(table, facts, roles.label[0], roles.bad, set(roles.customer[:1]), reading)
    return Inspection(facts, roles, leaks)


def write_starter_spec(found: Inspection, path: Path, spec: Path, reading: ReadingSpec) -> str:
    """Write a starter spec, and read the file with it.

    Returns:
        Why `fit` rejects the spec until a person decides; "" if it can be fitted. The first lines of the spec state it too.

    Raises:
        DataInvalid: The spec file exists already, or the table lacks the columns that a spec requires.
    """
    if spec.exists():
        raise DataInvalid(f"--spec: {spec} already exists; specify a new file")
    text = starter_spec(found.facts, found.roles, found.leaks, str(path), spec, reading)
    make_folder(spec.parent)
    write_file(spec, text.encode())
    rejection = _rejection(spec)
    if rejection:
        lines = [
            "# `fit` rejects this spec until you have decided:",
            *(f"#   {escape_line(line)}" for line in rejection.splitlines()),
        ]
        write_file(spec, "\n".join([*lines, "", text]).encode())
    return rejection


def _rejection(path: Path) -> str:
    """Return why the reader of `fit` rejects the file of a starter spec; "" if it reads the file."""
    spec = read_spec(path)
    try:
        if spec.table is not None:
            read_table_samples(spec, source_entry(spec.table, "table", path.parent, None), path.parent)
        elif spec.log is not None:
            with open_transaction_log(spec.log, None, SourcePaths(path.parent), _THREADS):
                pass
    except (DataInvalid, SpecInvalid) as error:
        return str(error)
    return ""


def print_inspection(found: Inspection, console: Console, *, as_json: bool) -> None:
    """Print the facts as an aligned table, or as JSON."""
    if as_json:
        document = facts_document(found.facts, found.roles, found.leaks)
        print(json.dumps(document, ensure_ascii=False, indent=1))  # noqa: T201 - the output of the command
        return
    console.print_table(facts_table(found.facts, found.roles, found.leaks))
    for line in fact_lines(found.facts, found.roles, found.leaks):
        console.info(line)
