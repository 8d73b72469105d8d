"""Writes the gRPC contract as a zip archive, from which clients in other languages can be generated without a network.

The archive contains our .proto files, all files that they import, a descriptor set of these files, and a README that explains
the use in Node, Java and Go. The same sources always produce the same bytes.
"""

import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

from contract import ROOT, SITE_PACKAGES, VALIDATE, contract_files, image_bytes, validate_files
from proto_source import proto_source

_PROJECT = ROOT.parent
_GUIDE = ROOT / "archive"  # contains the README and buf's configuration, which are copied unchanged
# The contract imports google.type. The details of gRPC errors are messages of google.rpc.
_GOOGLE_FILES = (
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "google/type/date.proto",
    "google/type/money.proto",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can have
_VALIDATE_HEADER = """\
// Copyright 2023-2026 Buf Technologies, Inc. Licensed under the Apache License, Version 2.0; see LICENSE.
// Written from the descriptor in the Python package protovalidate {version}, which has no comments.
// The commented source: https://github.com/bufbuild/protovalidate

"""


def write_archive(folder: Path) -> Path:
    """Write the archive into the folder; return its path."""
    name = f"grounds-contract-{_version()}"
    path = folder / f"{name}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for member, content in sorted(_members().items()):
            entry = zipfile.ZipInfo(f"{name}/{member}", _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def _members() -> dict[str, bytes]:
    """Return the content of every file of the archive, by path within the archive."""
    return {
        **{path.relative_to(_GUIDE).as_posix(): path.read_bytes() for path in _GUIDE.rglob("*") if path.is_file()},
        **{f"proto/{name}": (ROOT / name).read_bytes() for name in contract_files()},
        **{f"proto/{name}": (SITE_PACKAGES / name).read_bytes() for name in _GOOGLE_FILES},
        f"proto/{VALIDATE}": _validate_source().encode(),
        "LICENSE": (_PROJECT / "LICENSE").read_bytes(),
        "grounds.binpb": image_bytes(*_GOOGLE_FILES),
    }


def _validate_source() -> str:
    """Return the source of buf/validate/validate.proto, with its copyright notice."""
    header = _VALIDATE_HEADER.format(version=metadata.version("protovalidate"))
    return header + proto_source(validate_files(), VALIDATE)


def _version() -> str:
    """Return the version of the client's distribution, which is also the version of the contract."""
    return str(tomllib.loads((_PROJECT / "client" / "pyproject.toml").read_text())["project"]["version"])
