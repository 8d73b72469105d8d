"""Changed bundles whose digests match all the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.bundle import FILES, MANIFEST, write_bundle
from models.bundle_documents import Manifest


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file of a bundle but the manifest."""
    return {name: (folder / name).read_bytes() for name in FILES}


def manifest_of(folder: Path) -> Manifest:
    """Read a bundle's manifest."""
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def rewritten(folder: Path, parent: Path, name: str, content: bytes) -> Path:
    """Write the bundle with another content of one file."""
    return write_bundle(parent, manifest_of(folder), {**files_of(folder), name: content})


def with_document(folder: Path, parent: Path, name: str, change: Callable[[Any], object]) -> Path:
    """Write the bundle with one of its JSON documents changed."""
    document = json.loads((folder / name).read_bytes())
    change(document)
    return rewritten(folder, parent, name, json.dumps(document).encode())
