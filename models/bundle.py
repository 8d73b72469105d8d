"""A released model as a folder of files: written once, read only if every digest holds.

models/README.md is the specification of the format.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from models.atomic_files import write_folder
from models.bundle_documents import (
    FORMAT_VERSION,
    BaselineDocument,
    GateDocument,
    GoldenDocument,
    Manifest,
    MetricsDocument,
    SchemaDocument,
    Scorecard,
)
from models.errors import BundleInvalid
from models.schema import Schema

MANIFEST = "manifest.json"
FILES = (
    "score.onnx",
    "explain.onnx",
    "schema.json",
    "scorecard.json",
    "baseline.json",
    "golden.json",
    "gate.json",
    "metrics.json",
    "model.txt",
    "card.md",
    "report.html",
)


class _ManifestFormat(BaseModel):
    """What every format of the manifest has."""

    format: int


_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read whole.

    Attributes:
        bundle_id: SHA-256 of the manifest's bytes, in hexadecimal.
        baseline_sha256: Digest of baseline.json.
        score: score.onnx.
        explain: explain.onnx.
    """

    bundle_id: str
    manifest: Manifest
    schema: Schema
    scorecard: Scorecard
    baseline: BaselineDocument
    golden: GoldenDocument
    gate: GateDocument
    metrics: Mapping[str, float]
    card: str
    score: bytes
    explain: bytes

    @property
    def baseline_sha256(self) -> str:
        """Give the digest under which the manifest names the baseline."""
        return self.manifest.files["baseline.json"]


def write_bundle(parent: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle below `parent` in one step and give its folder.

    Args:
        parent: The catalog; the bundle goes to parent/family/bundle_id.
        manifest: With everything but the digests of the files.
        files: Exactly the files of FILES.
    """
    assert set(files) == set(FILES), f"a bundle has exactly {sorted(FILES)}"
    full = manifest.model_copy(update={"files": {name: _sha256_hex(files[name]) for name in sorted(files)}})
    content = document_bytes(full)
    folder = parent / manifest.family / _sha256_hex(content)
    write_folder(folder, {**files, MANIFEST: content})
    return folder


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every byte of it against the manifest, and the manifest against the folder's name.

    Raises:
        BundleInvalid: Names the file and what is wrong with it.
    """
    manifest = _read_manifest(folder)
    files = _read_files(folder, manifest)
    return Bundle(
        bundle_id=folder.name,
        manifest=manifest,
        schema=Schema(_parse_document("schema.json", files["schema.json"], SchemaDocument)),
        scorecard=_parse_document("scorecard.json", files["scorecard.json"], Scorecard),
        baseline=_parse_document("baseline.json", files["baseline.json"], BaselineDocument),
        gate=_parse_document("gate.json", files["gate.json"], GateDocument),
        golden=_parse_document("golden.json", files["golden.json"], GoldenDocument),
        metrics=_parse_document("metrics.json", files["metrics.json"], MetricsDocument).metrics,
        card=_decode_text("card.md", files["card.md"]),
        score=files["score.onnx"],
        explain=files["explain.onnx"],
    )


def _read_manifest(folder: Path) -> Manifest:
    """Read the manifest, and check it against the names of the folder and of the folder above."""
    content = _read_file(folder, MANIFEST)
    if _sha256_hex(content) != folder.name:
        raise BundleInvalid(f"{MANIFEST} is not the one that the folder is named after; restore the bundle")
    # The format first: what is newer may have fields that this release does not know.
    found = _parse_document(MANIFEST, content, _ManifestFormat).format
    if found > FORMAT_VERSION:
        raise BundleInvalid(f"{MANIFEST} has format {found}; this release reads up to {FORMAT_VERSION}")
    manifest = _parse_document(MANIFEST, content, Manifest)
    if manifest.family != folder.parent.name:
        raise BundleInvalid(
            f"{MANIFEST} is of family {manifest.family!r}, the folder of {folder.parent.name!r}; move it"
        )
    return manifest


def _read_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Read every file that the manifest lists; a missing, changed or additional one refuses the bundle."""
    if set(manifest.files) != set(FILES):
        raise BundleInvalid(f"{MANIFEST} lists {sorted(manifest.files)}; a bundle has exactly {sorted(FILES)}")
    files = {name: _read_file(folder, name) for name in FILES}
    for name, content in files.items():
        if _sha256_hex(content) != manifest.files[name]:
            raise BundleInvalid(f"{name} is not what {MANIFEST} says; restore the bundle or train it again")
    strangers = {path.name for path in folder.iterdir()} - {*FILES, MANIFEST}
    if strangers:
        raise BundleInvalid(f"{sorted(strangers)} do not belong to the bundle; remove them")
    return files


def _read_file(folder: Path, name: str) -> bytes:
    """Read one file of the bundle."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleInvalid(f"{name} cannot be read: {error.strerror}") from error


def _decode_text(name: str, content: bytes) -> str:
    """Read a text of the bundle."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{name}: is no UTF-8 text: {error.reason}") from error


def _parse_document(name: str, content: bytes, kind: type[_Document]) -> _Document:
    """Read one document of the bundle."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleInvalid(f"{name}: {where}: {first['msg']}") from error


def document_bytes(document: BaseModel) -> bytes:
    """Write a document: the same document gives the same bytes, and every double comes back as it was."""
    return document.model_dump_json(indent=1).encode() + b"\n"


def _sha256_hex(content: bytes) -> str:
    """Give SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
