"""The bundle: a released model as a folder of files. Readers reject a bundle in which any digest does not match.

Digests form a tree: the folder is named after the SHA-256 of the manifest, and the manifest lists the SHA-256 of every
other file. So a trusted bundle_id is enough to verify every byte. models/README.md specifies the format.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from models.atomic_files import read_regular_file, write_folder
from models.bundle_documents import (
    FORMAT_VERSION,
    BaselineDocument,
    GateDocument,
    GoldenDocument,
    Manifest,
    MetricsDocument,
    PopulationDocument,
    SchemaDocument,
    Scorecard,
)
from models.errors import BundleInvalid
from models.field_problems import field_path, field_problems
from models.schema import Schema

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # optional; the server verifies it, if it is configured to
_MIB = 1024 * 1024
# The files of a bundle, with the largest size that is read. Usually the files are much smaller: explain.onnx has up to about
# 30 MB, unless the model has many thousands of leaves, and each other file has at most a few megabytes.
_FILE_BYTES_MAX = {
    "score.onnx": 256 * _MIB,
    "explain.onnx": 256 * _MIB,
    "schema.json": 4 * _MIB,
    "scorecard.json": _MIB,
    "baseline.json": 32 * _MIB,
    "golden.json": 32 * _MIB,
    "gate.json": _MIB,
    "metrics.json": 4 * _MIB,
    "model.txt": 256 * _MIB,
    "card.md": 4 * _MIB,
    "report.html": 64 * _MIB,
    "population.json": 32 * _MIB,
}
FILES = tuple(_FILE_BYTES_MAX)
_NOT_IN_FORMAT_1 = {"population.json"}
_MANIFEST_BYTES_MAX = _MIB
_NAMES_LISTED_MAX = 20  # the largest number of additional files that an error message names
# The largest number of lists and objects, and of commas between elements, in a JSON document. Each parsed list needs a
# few hundred bytes of memory, so a document of a few megabytes with nothing but lists would need gigabytes.
_NESTED_MAX = 250_000
_ELEMENTS_MAX = 4_000_000


class _ManifestFormat(BaseModel):
    """The field `format`, which every version of the manifest has."""

    format: int = Field(ge=1, strict=True)


_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The content of a bundle whose digests all match.

    Attributes:
        bundle_id: SHA-256 of the manifest's bytes, in hexadecimal.
        metrics: Metrics that training measured, by name.
        population: The customers that training used; None in a bundle of format 1.
        card: The model card, Markdown.
        score: Bytes of score.onnx.
        explain: Bytes of explain.onnx.
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
    population: PopulationDocument | None = None

    @property
    def baseline_sha256(self) -> str:
        """Return the SHA-256 of baseline.json, in hexadecimal."""
        return self.manifest.files["baseline.json"]


def write_bundle(parent: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle atomically and return its folder, parent/family/bundle_id.

    Args:
        parent: The folder of the catalog.
        manifest: The manifest; its `files` are replaced with the digests of the argument `files`.
        files: The content of each file by name; the names must be exactly those of the manifest's format.
    """
    names = _file_names(manifest.format)
    assert set(files) == names, f"a bundle has exactly {sorted(names)}"
    full = manifest.model_copy(update={"files": {name: _sha256_hex(files[name]) for name in sorted(files)}})
    content = document_bytes(full)
    folder = parent / manifest.family / _sha256_hex(content)
    write_folder(folder, {**files, MANIFEST: content})
    return folder


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle; check every file against the manifest, and the manifest against the folder's name.

    Raises:
        BundleInvalid: A file is missing, additional, changed or malformed, or this release does not support the format.
            The message names the file.
    """
    manifest = _read_manifest(folder)
    files = _read_files(folder, manifest)
    population = files.get("population.json")
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
        population=None if population is None else _parse_document("population.json", population, PopulationDocument),
    )


def read_bundle_file(folder: Path, bundle: Bundle, name: str) -> bytes:
    """Return the content of one file of a bundle that was read before, after checking its digest again.

    Raises:
        BundleInvalid: The file is missing or was changed since.
    """
    content = _read_file(folder, name, _FILE_BYTES_MAX[name])
    if _sha256_hex(content) != bundle.manifest.files[name]:
        raise BundleInvalid(_changed_problem(name))
    return content


def _read_manifest(folder: Path) -> Manifest:
    """Read the manifest; check its digest against the folder's name, and its family against the parent's name."""
    content = _read_file(folder, MANIFEST, _MANIFEST_BYTES_MAX)
    if _sha256_hex(content) != folder.name:
        raise BundleInvalid(f"{MANIFEST}: its SHA-256 is not the name of the folder; restore the bundle")
    # The format is read first, because a newer manifest may have fields that this release would report as errors.
    found = _parse_document(MANIFEST, content, _ManifestFormat).format
    if found > FORMAT_VERSION:
        raise BundleInvalid(
            f"{MANIFEST}: format {found} is newer than {FORMAT_VERSION}, the newest that this release reads; upgrade Grounds"
        )
    manifest = _parse_document(MANIFEST, content, Manifest)
    if manifest.family != folder.parent.name:
        raise BundleInvalid(
            f"{MANIFEST}: family is {manifest.family!r}, but the parent folder is {folder.parent.name!r}; move the bundle"
        )
    return manifest


def _read_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Read every file that the manifest lists; reject missing, changed and additional files."""
    expected = _file_names(manifest.format)
    if set(manifest.files) != expected:
        listed = sorted(manifest.files)[:_NAMES_LISTED_MAX]
        raise BundleInvalid(f"{MANIFEST}: lists {listed}, expected exactly {sorted(expected)}")
    additional = {path.name for path in folder.iterdir()} - {*expected, MANIFEST, SIGNATURE}
    if additional:
        raise BundleInvalid(f"{sorted(additional)[:_NAMES_LISTED_MAX]} do not belong to the bundle; remove them")
    files = {
        name: _read_file(folder, name, bytes_max) for name, bytes_max in _FILE_BYTES_MAX.items() if name in expected
    }
    for name, content in files.items():
        if _sha256_hex(content) != manifest.files[name]:
            raise BundleInvalid(_changed_problem(name))
    return files


def _changed_problem(name: str) -> str:
    """Return the message about a file that is not the one that the manifest names."""
    return f"{name}: its SHA-256 differs from {MANIFEST}; restore the bundle or train it again"


def _file_names(bundle_format: int) -> set[str]:
    """Return the names of the files of a bundle, without the manifest and its signature."""
    return set(FILES) - (_NOT_IN_FORMAT_1 if bundle_format == 1 else set())


def _read_file(folder: Path, name: str, bytes_max: int) -> bytes:
    """Read one file of the bundle."""
    try:
        return read_regular_file(folder / name, bytes_max)
    except OSError as error:
        raise BundleInvalid(f"{name}: cannot be read: {error.strerror}") from error


def _decode_text(name: str, content: bytes) -> str:
    """Decode a UTF-8 file of the bundle."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{name}: not UTF-8: {error.reason}") from error


def _parse_document(name: str, content: bytes, kind: type[_Document]) -> _Document:
    """Parse one JSON document of the bundle. The error message reports the first invalid field."""
    nested, elements = content.count(b"[") + content.count(b"{"), content.count(b",")
    if nested > _NESTED_MAX or elements > _ELEMENTS_MAX:
        raise BundleInvalid(
            f"{name}: has {nested:,} lists and objects with {elements:,} commas; at most {_NESTED_MAX:,} and {_ELEMENTS_MAX:,} are read"
        )
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        path, problem = next(field_problems(error))
        raise BundleInvalid(f"{name}: {field_path(path)}: {problem}") from error


def document_bytes(document: BaseModel) -> bytes:
    """Return a document as JSON. Every double is written with enough digits to be read back exactly."""
    return document.model_dump_json(indent=1).encode() + b"\n"


def _sha256_hex(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
