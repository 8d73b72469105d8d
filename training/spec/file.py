"""Reads spec files. A spec file may extend another spec file."""

import datetime as dt
import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from grounds_record.printable_text import hidden_text_problems
from training.errors import SpecInvalid
from training.spec.family import Spec
from training.spec.relative_dates import resolve_spec_days

# Keys that exclude each other. If an extending file sets one key of a group, it does not inherit the others.
_ALTERNATIVES = (
    ("table", "log"),
    ("table", "snapshots"),
    ("table", "status"),
    ("table", "aliases"),
    ("log.path", "log.package", "log.source"),
    ("table.path", "table.source"),
    ("log.market", "log.columns.market"),
    ("table.market", "table.market_column"),
    ("table.as_of", "table.as_of_column"),
)
# Keys whose values are paths relative to the file that sets them.
_PATH_KEYS = (
    "table.path",
    "log.path",
    "status.path",
    "aliases.path",
    "log.market.map",
    "log.columns.market.map",
    "table.market.map",
    "table.market_column.map",
)


def read_spec(path: Path, on: dt.date | None = None) -> Spec:
    """Read and validate a spec file.

    Args:
        path: The file.
        on: The day to which relative days refer, such as "month-3"; None for today, in UTC.

    Raises:
        SpecInvalid: The file is unreadable or invalid; the message lists every problem with its field.
    """
    content = _read_content(path)
    resolve_spec_days(content, on or dt.datetime.now(dt.UTC).date())
    if hidden := [f"  {field}: {problem}" for field, problem in hidden_text_problems(content)]:
        raise SpecInvalid("\n".join([f"{path}:", *hidden, "remove these characters"]))
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        problems = [f"  {'.'.join(str(part) for part in e['loc']) or 'spec'}: {e['msg']}" for e in error.errors()]
        raise SpecInvalid("\n".join([f"{path}:", *problems, "correct these fields of the spec"])) from error


def _read_content(path: Path) -> dict[str, Any]:
    """Read a spec file. If it has `extends`, merge it over the spec file that it extends.

    The path in `extends` is relative to the extending file. Tables are merged key by key; all other values of
    the extending file replace those of the extended file. A feature that both files list keeps the fields that the
    extending file does not set. If the extending file has [[features]], the features that it does not list are dropped.
    `unset` lists inherited keys to remove, e.g. "log.columns.basket".
    """
    *ancestors, (own_path, content) = _read_chain(path)
    if not ancestors and "unset" in content:
        raise SpecInvalid(f"{path}: unset: requires `extends`, because it removes inherited keys; remove unset")
    under: dict[str, Any] = {}
    folder = path.parent
    for number, (layer_path, layer) in enumerate([*ancestors, (own_path, content)]):
        _rebase_paths(layer, Path(os.path.relpath(layer_path.parent, folder)))
        if number:
            _remove_unset(under, layer.pop("unset", []), layer_path)
            _remove_replaced(under, layer)
        known = {feature.get("name"): feature for feature in under.get("features", [])}
        if "features" in layer:
            layer["features"] = [known.get(feature.get("name"), {}) | feature for feature in layer["features"]]
        under = _overlay(under, layer)
    return under


def _read_chain(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return a spec file and the spec files that it extends, directly or indirectly, with the outermost base first.

    Raises:
        SpecInvalid: A file is unreadable or is not TOML, `extends` is not a path, or the files extend each other in a
            cycle.
    """
    chain: list[tuple[Path, dict[str, Any]]] = []
    following: Path | None = path
    while following is not None:
        if any(following.resolve() == read.resolve() for read, _ in chain):
            listed = " extends ".join(str(read) for read in [*(read for read, _ in chain), following])
            raise SpecInvalid(
                f"{path}: extends: the spec files extend each other in a cycle ({listed}); remove one `extends`"
            )
        content = _parse(following)
        base = content.pop("extends", None)
        if base is not None and not isinstance(base, str):
            raise SpecInvalid(
                f'{following}: extends: write the path of a spec file, such as "churn.toml", instead of {base!r}'
            )
        chain.append((following, content))
        following = None if base is None else following.parent / base
    return chain[::-1]


def _parse(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; raise SpecInvalid if the file is unreadable or is not TOML."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecInvalid(f"{path}: {error.strerror}; specify a spec file that can be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecInvalid(f"{path}: is not valid TOML: {error}; correct this place") from error
    return content


def _rebase_paths(content: dict[str, Any], folder: Path) -> None:
    """Prefix the relative paths of a spec file with its folder, relative to the folder of the extending file."""
    for key in _PATH_KEYS:
        table, name = _find_table(content, key)
        value = None if table is None or folder == Path() else table.get(name)
        if table is not None and isinstance(value, str):
            table[name] = str(folder / value)
        elif table is not None and isinstance(value, list):
            table[name] = [str(folder / str(one)) for one in value]


def _remove_unset(under: dict[str, Any], unset: Any, path: Path) -> None:
    """Remove the keys that `unset` lists from the inherited content.

    Raises:
        SpecInvalid: `unset` is not a list of keys, or a key is not inherited.
    """
    if not isinstance(unset, list) or not all(isinstance(key, str) for key in unset):
        raise SpecInvalid(f'{path}: unset: write a list of keys, such as ["log.package"], instead of {unset!r}')
    for key in unset:
        table, name = _find_table(under, key)
        if table is None or name not in table:
            raise SpecInvalid(
                f"{path}: unset: the extended spec has no key {key!r}; remove it from unset, or correct it"
            )
        del table[name]


def _remove_replaced(under: dict[str, Any], over: dict[str, Any]) -> None:
    """Remove inherited keys that exclude a key of the extending file, so that the key of the extending file applies."""
    for group in _ALTERNATIVES:
        names_by_key = {key: _find_table(over, key) for key in group}
        if not any(table is not None and name in table for table, name in names_by_key.values()):
            continue
        for key in group:
            over_table, name = names_by_key[key]
            under_table, _ = _find_table(under, key)
            if under_table is not None and not (over_table is not None and name in over_table):
                under_table.pop(name, None)


def _find_table(content: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """Return the table that would contain a dotted key (None if there is none), and the last part of the key."""
    *parents, name = key.split(".")
    table: Any = content
    for parent in parents:
        table = table.get(parent) if isinstance(table, dict) else None
    return (table if isinstance(table, dict) else None), name


def _overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return the table `over` merged over the table `under`, key by key."""
    tables = {
        key: _overlay(under[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(under.get(key), dict)
    }
    return under | over | tables


def spec_digest(path: Path) -> str:
    """Return the SHA-256 of a spec file.

    For a file with `extends`, the result is the SHA-256 of the digest of the extended file, followed by the extending
    file.
    """
    digest = ""
    for layer_path, _ in _read_chain(path):
        digest = hashlib.sha256(digest.encode() + layer_path.read_bytes()).hexdigest()
    return digest
