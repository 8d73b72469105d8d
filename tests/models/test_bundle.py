"""A bundle is read as it was written, or rejected with the name of the file."""

import hashlib
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.atomic_files import write_file, write_folder
from models.bundle import FILES, MANIFEST, document_bytes, read_bundle, write_bundle
from models.bundle_documents import FORMAT_VERSION
from models.errors import BundleInvalid
from models.model import open_model
from tests.models.changed_bundles import files_of, manifest_of, rewritten, with_document
from tests.small import SmallFamily

DOCUMENTS = {
    "schema.json": lambda bundle: bundle.schema.document,
    "scorecard.json": lambda bundle: bundle.scorecard,
    "baseline.json": lambda bundle: bundle.baseline,
    "golden.json": lambda bundle: bundle.golden,
}


@pytest.fixture
def folder(small: SmallFamily, tmp_path: Path) -> Path:
    """Return a copy of a bundle, to damage."""
    copy = tmp_path / "catalog" / "credit" / small.bundle_folder.name
    shutil.copytree(small.bundle_folder, copy)
    return copy


def test_a_bundle_reads_back_as_it_was_written(small: SmallFamily, tmp_path: Path) -> None:
    files, manifest = files_of(small.bundle_folder), manifest_of(small.bundle_folder)

    written = write_bundle(tmp_path, manifest.model_copy(update={"files": {}}), files)
    bundle = read_bundle(written)

    assert files_of(written) == files
    assert bundle.manifest == manifest
    assert (bundle.score, bundle.explain) == (files["score.onnx"], files["explain.onnx"])
    assert bundle.card.encode() == files["card.md"]
    assert bundle.metrics == json.loads(files["metrics.json"])["metrics"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_was_read_writes_the_bytes_that_it_was_read_from(small: SmallFamily, name: str) -> None:
    """So every double comes back as it was, and unknown is not 0."""
    assert document_bytes(DOCUMENTS[name](small.bundle())) == files_of(small.bundle_folder)[name]


def test_the_name_of_a_bundle_is_the_digest_of_its_manifest_which_has_the_digest_of_every_file(
    small: SmallFamily,
) -> None:
    manifest = json.loads((small.bundle_folder / MANIFEST).read_bytes())

    assert small.bundle_folder.name == hashlib.sha256((small.bundle_folder / MANIFEST).read_bytes()).hexdigest()
    assert small.bundle_folder.parent.name == manifest["family"]
    assert manifest["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in files_of(small.bundle_folder).items()
    }


def test_two_writes_of_the_same_content_are_one_bundle(small: SmallFamily, tmp_path: Path) -> None:
    files, manifest = files_of(small.bundle_folder), manifest_of(small.bundle_folder)

    first = write_bundle(tmp_path, manifest, files)
    inode = (first / MANIFEST).stat().st_ino
    second = write_bundle(tmp_path, manifest, dict(reversed(files.items())))

    assert second == first
    assert (first / MANIFEST).stat().st_ino == inode
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_byte_in_any_file_refuses_the_bundle_and_names_the_file(
    folder: Path, name: str, place: float
) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BundleInvalid, match=f"^{name}: "):
        read_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("content", [b"", None])
def test_a_file_that_is_empty_or_missing_refuses_the_bundle_and_is_named(
    folder: Path, name: str, content: bytes | None
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)

    with pytest.raises(BundleInvalid, match=f"^{name}: "):
        read_bundle(folder)


def test_a_folder_in_the_place_of_a_file_refuses_the_bundle(folder: Path) -> None:
    (folder / "score.onnx").unlink()
    (folder / "score.onnx").mkdir()

    with pytest.raises(BundleInvalid, match=r"^score[.]onnx: cannot be read"):
        read_bundle(folder)


@pytest.mark.parametrize("stranger", ["notes.txt", ".hidden", "score.onnx.bak"])
def test_a_file_that_does_not_belong_to_the_bundle_refuses_it_and_is_named(folder: Path, stranger: str) -> None:
    (folder / stranger).write_bytes(b"")

    with pytest.raises(BundleInvalid, match=f"'{stranger}'.*do not belong"):
        read_bundle(folder)


def test_a_folder_under_another_name_is_rejected(folder: Path) -> None:
    other = folder.rename(folder.with_name("0" * 64))

    with pytest.raises(BundleInvalid, match=r"^manifest[.]json: its SHA-256 is not the name of the folder"):
        read_bundle(other)


def test_a_folder_that_is_not_there_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"^manifest[.]json: cannot be read"):
        read_bundle(tmp_path / "nothing")


def with_manifest(folder: Path, change: dict[str, Any]) -> Path:
    """Change the manifest, and rename the folder to its digest."""
    content = json.dumps({**json.loads((folder / MANIFEST).read_bytes()), **change}).encode()
    (folder / MANIFEST).write_bytes(content)
    return folder.rename(folder.with_name(hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("more", [{}, {"signature": "not known to this release"}])
def test_a_newer_format_is_rejected_as_newer_whichever_fields_it_has(folder: Path, more: dict[str, str]) -> None:
    newer = with_manifest(folder, {"format": FORMAT_VERSION + 1, **more})

    with pytest.raises(BundleInvalid, match=f"format {FORMAT_VERSION + 1} is newer than {FORMAT_VERSION}"):
        read_bundle(newer)


@pytest.mark.parametrize(
    "change", [{"files": {}}, {"markets": []}, {"family": "../credit"}, {"stranger": 1}, {"format": "one"}]
)
def test_a_manifest_that_is_none_refuses_the_bundle(folder: Path, change: dict[str, Any]) -> None:
    with pytest.raises(BundleInvalid, match=r"^manifest\.json"):
        read_bundle(with_manifest(folder, change))


FAULTS: list[tuple[str, Callable[[Any], object], str]] = [
    ("scorecard.json", lambda d: d.update(slope=-1.0), "scorecard.json: slope"),
    ("scorecard.json", lambda d: d.pop("pdo"), "scorecard.json: pdo"),
    ("schema.json", lambda d: d["features"][0].update(sign=2), r"schema.json: features\.0\.sign"),
    ("schema.json", lambda d: d.update(stranger=1), "schema.json: stranger"),
    ("baseline.json", lambda d: d.update(rows=[]), "baseline.json: .*rows: an interventional"),
    ("golden.json", lambda d: d.update(rows=[]), "golden.json: rows"),
    ("metrics.json", lambda d: d.update(metrics={"auc": "high"}), r"metrics.json: metrics\.auc"),
]


@pytest.mark.parametrize(("name", "change", "message"), FAULTS, ids=[message for _, _, message in FAULTS])
def test_a_document_that_cannot_be_right_refuses_the_bundle_and_names_the_field(
    small: SmallFamily, tmp_path: Path, name: str, change: Callable[[Any], object], message: str
) -> None:
    faulty = with_document(small.bundle_folder, tmp_path, name, change)

    with pytest.raises(BundleInvalid, match=f"^{message}"):
        read_bundle(faulty)


@pytest.mark.parametrize("name", ["card.md", "schema.json", "golden.json"])
def test_a_file_that_is_no_text_refuses_the_bundle_and_is_named(small: SmallFamily, tmp_path: Path, name: str) -> None:
    faulty = rewritten(small.bundle_folder, tmp_path, name, b"\xff\xfe\x00")

    with pytest.raises(BundleInvalid, match=f"^{name}"):
        read_bundle(faulty)


@contextmanager
def a_disk_with_room_for(size: int) -> Iterator[None]:
    """Make the operating system reject every file larger than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_at_any_file_leaves_nothing_behind(small: SmallFamily, tmp_path: Path) -> None:
    files, manifest = files_of(small.bundle_folder), manifest_of(small.bundle_folder)
    sizes = sorted(len(content) for content in files.values())

    for size in sizes:
        with a_disk_with_room_for(size - 1), pytest.raises(OSError, match="File too large"):
            write_bundle(tmp_path, manifest, files)

        assert list((tmp_path / "credit").iterdir()) == []
    assert read_bundle(write_bundle(tmp_path, manifest, files)).bundle_id == small.bundle_folder.name


def test_a_content_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    contents: dict[str, Any] = {"first": b"1", "second": "no bytes", "third": b"3"}

    with pytest.raises(TypeError):
        write_folder(tmp_path / "folder", contents)

    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_replacement_fails_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "ACTIVE.toml"
    write_file(path, b"before")

    with a_disk_with_room_for(3), pytest.raises(OSError, match="File too large"):
        write_file(path, b"after")

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["score.onnx", "surplus.txt"])
def test_only_a_bundle_of_exactly_the_files_of_a_bundle_is_written(
    small: SmallFamily, tmp_path: Path, name: str
) -> None:
    files = files_of(small.bundle_folder)
    files = {**files, name: b""} if name not in files else {k: v for k, v in files.items() if k != name}

    with pytest.raises(AssertionError, match="a bundle has exactly"):
        write_bundle(tmp_path, manifest_of(small.bundle_folder), files)

    assert list(tmp_path.iterdir()) == []


def test_the_bundle_of_these_tests_opens(small: SmallFamily) -> None:
    open_model(small.bundle())
