"""Separates the columns that a spec computes from the columns of the source, and locates the source.

After the separation, every column field of the spec is the name of a column. The readers therefore do not need to know
whether a column is computed.
"""

from pathlib import Path

from training.errors import SpecInvalid
from training.sources.derived_columns import ColumnDerivation
from training.spec import LogSpec, Spec, TableSpec
from training.spec.mapping import ColumnSource
from training.spec.sources import PathList, SourceEntry

_NUMBER_ROLES = {"amount", "quantity", "discount"}
_COLUMN_FIELDS = ("customer_id", "market_column", "as_of_column", "weight")


def separate_table_columns(spec: Spec) -> tuple[Spec, tuple[ColumnDerivation, ...]]:
    """Return the spec of a table with the names of its columns, and the columns to compute."""
    table = spec.table
    assert table is not None
    sources: dict[str, ColumnSource] = {
        f"table.{name}": value for name in _COLUMN_FIELDS if (value := getattr(table, name)) is not None
    }
    sources["table.label"] = table.label.column
    sources |= {f"features.{one.name}": one.column for one in spec.features if one.column is not None}
    numbers = {"table.weight", *(f"features.{one.name}" for one in spec.features if one.kind == "number")}
    derivations = tuple(ColumnDerivation(field, source, field in numbers) for field, source in sources.items())
    if table.market_map is not None:
        market = ColumnDerivation("table.market", table.market_map)
        names = {"market_column": market.name, "market_map": None}
        return spec.model_copy(update={"table": table.model_copy(update=names)}), (*derivations, market)
    return spec, derivations


def separate_log_columns(log: LogSpec) -> tuple[LogSpec, tuple[ColumnDerivation, ...]]:
    """Return the spec of a log with the names of its columns, and the columns to compute."""
    sources = {
        role: value for role in type(log.columns).model_fields if (value := getattr(log.columns, role)) is not None
    }
    derivations = {
        role: ColumnDerivation(f"log.columns.{role}", source, role in _NUMBER_ROLES) for role, source in sources.items()
    }
    names = {role: one.name for role, one in derivations.items()}
    return log.model_copy(update={"columns": log.columns.model_copy(update=names)}), tuple(derivations.values())


def source_entry(spec: TableSpec | LogSpec, section: str, folder: Path, data: Path | None) -> SourceEntry:
    """Return the source of a table or a log.

    Args:
        spec: The [table] or [log].
        section: "table" or "log".
        folder: Folder of the spec file; paths in the spec are relative to this folder.
        data: Path that the command line specifies instead, or None.

    Raises:
        SpecInvalid: There is no source.
    """
    if data is not None:
        return data
    if spec.source is not None:
        return spec.source
    if spec.path is None:
        raise SpecInvalid(f"{section}: has no source; set path or source in [{section}], or specify a file with --data")
    return _resolve_paths(spec.path, folder)


def _resolve_paths(path: PathList, folder: Path) -> Path | tuple[Path, ...]:
    """Return the paths of the spec relative to the current folder."""
    return folder / path if isinstance(path, str) else tuple(folder / one for one in path)
