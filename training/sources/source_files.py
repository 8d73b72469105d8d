"""Resolves the paths of the spec: one file, several files, a glob pattern, or a folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from training.errors import DataInvalid

_GLOB_CHARACTERS = set("*?[")
# Formats of tables with versions, and the entry by which their folders are known.
_TABLE_FORMATS = {"a Delta": "_delta_log", "an Iceberg": "metadata/*.metadata.json", "a Hudi": ".hoodie"}
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: The file.
        partition: Names and values of the columns that folder names such as country=DE state; None if missing.
    """

    path: Path
    partition: tuple[tuple[str, str | None], ...] = ()


def find_source_files(paths: Iterable[Path], option: str) -> list[SourceFile]:
    """Return the files of a source in the order of their paths, each once.

    A path is a file, a folder with files at any depth, or a glob pattern in which ** stands for folders at any depth.
    Files and folders whose names begin with "." or "_" are ignored in folders and patterns, because programs write
    their own files under such names.

    Args:
        paths: The paths.
        option: Option of the command line that specifies a different source, for messages.

    Raises:
        DataInvalid: A path does not exist, a folder or a pattern has no file, or the folder is a table with versions.
    """
    files: dict[Path, SourceFile] = {}
    for path in paths:
        if path.is_file():
            found = [SourceFile(path)]
        elif path.is_dir():
            found = [_add_partition(file, path) for file in _visible_files(path.rglob("*"), path)]
        elif _GLOB_CHARACTERS & set(str(path)):
            root = _pattern_root(path)
            pattern = str(path.relative_to(root))
            found = [_add_partition(file, root) for file in _visible_files(root.glob(pattern), root)]
        else:
            raise DataInvalid(f"{path}: no such file; check the path, or specify a different file with {option}")
        if not path.is_file():
            _check_is_no_table_format(found)
        if not found:
            raise DataInvalid(f"{path}: has no files; check the path, or specify a different file with {option}")
        files |= {one.path.resolve(): one for one in found if one.path.resolve() not in files}
    return list(files.values())


def _check_is_no_table_format(files: Iterable[SourceFile]) -> None:
    """Raise DataInvalid if files are in a folder whose own log states which of them are valid.

    The folder also has the files of earlier versions, whose rows were changed or deleted.
    """
    for folder in {parent for one in files for parent in one.path.absolute().parents}:
        for name, pattern in _TABLE_FORMATS.items():
            if next(folder.glob(pattern), None) is not None:
                raise DataInvalid(
                    f"{folder}: is {name} table, whose folder also has files of earlier versions; export its current version to "
                    "Parquet, and specify the new files"
                )


def _visible_files(found: Iterable[Path], root: Path) -> list[Path]:
    """Return the files whose paths below the root have no part that begins with a dot or an underscore."""
    return sorted(
        path
        for path in found
        if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(root).parts)
    )


def _pattern_root(pattern: Path) -> Path:
    """Return the folder of a glob pattern that is above every part with a wildcard."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if _GLOB_CHARACTERS & set(part))
    return Path(*parts[:first])


def _add_partition(path: Path, root: Path) -> SourceFile:
    """Return a file with the columns that its folders below the root state, as Hive and Spark write them."""
    pairs = [part.split("=", 1) for part in path.relative_to(root).parts[:-1] if "=" in part]
    return SourceFile(
        path,
        tuple((unquote(name), None if value == _NULL_PARTITION else unquote(value)) for name, value in pairs),
    )
