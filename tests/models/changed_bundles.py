"""Writes changed copies of a bundle whose digests match the changed files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.bundle import FILES, MANIFEST, write_bundle
from models.bundle_documents import Manifest


def read_files(folder: Path) -> dict[str, bytes]:
    """Read every file of a bundle except the manifest."""
    return {name: (folder / name).read_bytes() for name in FILES}


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest."""
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def write_with_file(folder: Path, parent: Path, name: str, content: bytes) -> Path:
    """Write a copy of a bundle in which one file has this content; return the folder of the copy."""
    return write_bundle(parent, read_manifest(folder), {**read_files(folder), name: content})


def write_with_document(folder: Path, parent: Path, name: str, change: Callable[[Any], object]) -> Path:
    """Write a copy of a bundle in which `change` has changed one JSON document; return the folder of the copy."""
    document = json.loads((folder / name).read_bytes())
    change(document)
    return write_with_file(folder, parent, name, json.dumps(document).encode())
