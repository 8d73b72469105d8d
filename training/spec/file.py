"""Reads spec files. A spec file may extend another spec file."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from grounds_record.printable_text import hidden_text_problems
from training.errors import SpecInvalid
from training.spec.family import Spec


def read_spec(path: Path) -> Spec:
    """Read and validate a spec file.

    Raises:
        SpecInvalid: The file is unreadable or invalid; the message lists every problem with its field.
    """
    content = _read_content(path)
    if hidden := [f"  {field}: {problem}" for field, problem in hidden_text_problems(content)]:
        raise SpecInvalid("\n".join([f"{path}:", *hidden]))
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        problems = [f"  {'.'.join(str(part) for part in e['loc']) or 'spec'}: {e['msg']}" for e in error.errors()]
        raise SpecInvalid("\n".join([f"{path}:", *problems])) from error


def _read_content(path: Path) -> dict[str, Any]:
    """Read a spec file. If it has `extends`, merge it over the spec file that it extends.

    The path in `extends` is relative to the extending file. Tables are merged key by key; all other values of
    the extending file replace those of the extended file. A feature that both files list keeps the fields that the
    extending file does not set. If the extending file has [[features]], the features that it does not list are dropped.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecInvalid(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{path}: is not valid TOML: {error}") from error
    if (base := content.pop("extends", None)) is None:
        return content
    under = _read_content(path.parent / str(base))
    known = {feature.get("name"): feature for feature in under.get("features", [])}
    if "features" in content:
        content["features"] = [known.get(feature.get("name"), {}) | feature for feature in content["features"]]
    return _overlay(under, content)


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
    content = path.read_bytes()
    base = tomllib.loads(content.decode()).get("extends")
    whole = content if base is None else spec_digest(path.parent / str(base)).encode() + content
    return hashlib.sha256(whole).hexdigest()
