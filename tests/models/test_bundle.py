"""A bundle is read back as it was written, or rejected with an error that names the file."""

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
from tests.models.changed_bundles import read_files, read_manifest, write_with_document, write_with_file
from tests.small import SmallFamily

DOCUMENTS = {
    "schema.json": lambda bundle: bundle.schema.document,
    "scorecard.json": lambda bundle: bundle.scorecard,
    "baseline.json": lambda bundle: bundle.baseline,
    "golden.json": lambda bundle: bundle.golden,
    "population.json": lambda bundle: bundle.population,
}


@pytest.fixture
def folder(small: SmallFamily, tmp_path: Path) -> Path:
    """Return a copy of a bundle that a test may damage."""
    copy = tmp_path / "catalog" / "credit" / small.bundle_folder.name
    shutil.copytree(small.bundle_folder, copy)
    return copy


def test_a_bundle_reads_back_as_it_was_written(small: SmallFamily, tmp_path: Path) -> None:
    files, manifest = read_files(small.bundle_folder), read_manifest(small.bundle_folder)

    written = write_bundle(tmp_path, manifest.model_copy(update={"files": {}}), files)
    bundle = read_bundle(written)

    assert read_files(written) == files
    assert bundle.manifest == manifest
    assert (bundle.score, bundle.explain) == (files["score.onnx"], files["explain.onnx"])
    assert bundle.card.encode() == files["card.md"]
    assert bundle.metrics == json.loads(files["metrics.json"])["metrics"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_was_read_is_written_with_the_same_bytes(small: SmallFamily, name: str) -> None:
    """Equal bytes show that every double is read back exactly, and that a missing value does not become 0."""
    assert document_bytes(DOCUMENTS[name](small.bundle())) == read_files(small.bundle_folder)[name]


def test_a_bundle_is_named_after_the_digest_of_its_manifest_which_lists_all_other_digests(
    small: SmallFamily,
) -> None:
    manifest = json.loads((small.bundle_folder / MANIFEST).read_bytes())

    assert small.bundle_folder.name == hashlib.sha256((small.bundle_folder / MANIFEST).read_bytes()).hexdigest()
    assert small.bundle_folder.parent.name == manifest["family"]
    assert manifest["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in read_files(small.bundle_folder).items()
    }


def test_writing_the_same_content_twice_creates_one_bundle(small: SmallFamily, tmp_path: Path) -> None:
    files, manifest = read_files(small.bundle_folder), read_manifest(small.bundle_folder)

    first = write_bundle(tmp_path, manifest, files)
    inode = (first / MANIFEST).stat().st_ino
    second = write_bundle(tmp_path, manifest, dict(reversed(files.items())))

    assert second == first
    assert (first / MANIFEST).stat().st_ino == inode
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_bundle_with_a_flipped_bit_in_any_file_is_rejected_and_the_error_names_the_file(
    folder: Path, name: str, place: float
) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BundleInvalid, match=f"^{name}: "):
        read_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("content", [b"", None])
def test_a_bundle_with_an_empty_or_missing_file_is_rejected_and_the_error_names_the_file(
    folder: Path, name: str, content: bytes | None
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)

    with pytest.raises(BundleInvalid, match=f"^{name}: "):
        read_bundle(folder)


def test_a_bundle_with_a_folder_instead_of_a_file_is_rejected(folder: Path) -> None:
    (folder / "score.onnx").unlink()
    (folder / "score.onnx").mkdir()

    with pytest.raises(BundleInvalid, match=r"^score[.]onnx: cannot be read"):
        read_bundle(folder)


@pytest.mark.parametrize("stranger", ["notes.txt", ".hidden", "score.onnx.bak"])
def test_a_bundle_with_an_additional_file_is_rejected_and_the_error_names_the_file(folder: Path, stranger: str) -> None:
    (folder / stranger).write_bytes(b"")

    with pytest.raises(BundleInvalid, match=f"'{stranger}'.*do not belong"):
        read_bundle(folder)


def test_a_folder_under_another_name_is_rejected(folder: Path) -> None:
    other = folder.rename(folder.with_name("0" * 64))

    with pytest.raises(BundleInvalid, match=r"^manifest[.]json: its SHA-256 is not the name of the folder"):
        read_bundle(other)


def test_a_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"^manifest[.]json: cannot be read"):
        read_bundle(tmp_path / "nothing")


def with_manifest(folder: Path, change: dict[str, Any]) -> Path:
    """Change the manifest, and rename the folder to its digest."""
    content = json.dumps({**json.loads((folder / MANIFEST).read_bytes()), **change}).encode()
    (folder / MANIFEST).write_bytes(content)
    return folder.rename(folder.with_name(hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("more", [{}, {"signature": "not known to this release"}])
def test_a_newer_format_is_reported_as_newer_even_if_the_manifest_has_unknown_fields(
    folder: Path, more: dict[str, str]
) -> None:
    newer = with_manifest(folder, {"format": FORMAT_VERSION + 1, **more})

    with pytest.raises(BundleInvalid, match=f"format {FORMAT_VERSION + 1} is newer than {FORMAT_VERSION}"):
        read_bundle(newer)


def test_a_bundle_of_format_1_has_no_population_and_no_other_file_may_be_missing(
    small: SmallFamily, tmp_path: Path
) -> None:
    manifest, files = read_manifest(small.bundle_folder), read_files(small.bundle_folder)
    del files["population.json"]
    old = write_bundle(tmp_path, manifest.model_copy(update={"format": 1}), files)

    bundle = read_bundle(old)
    assert bundle.population is None
    assert open_model(bundle).bundle.schema.names == small.bundle().schema.names
    (old / "population.json").write_bytes((small.bundle_folder / "population.json").read_bytes())
    with pytest.raises(BundleInvalid, match=r"population\.json.* do not belong to the bundle"):
        read_bundle(old)
    with pytest.raises(BundleInvalid, match=r"^manifest\.json: lists "):
        read_bundle(with_manifest(shutil.copytree(small.bundle_folder, tmp_path / "credit" / "copy"), {"format": 1}))


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"markets": []},
        {"markets": ["DE", "FR", "DE"]},
        {"family": "../credit"},
        {"stranger": 1},
        *({"format": number} for number in ("one", "2", 2.0, True, 0, -1)),
    ],
)
def test_a_bundle_with_an_invalid_manifest_is_rejected(folder: Path, change: dict[str, Any]) -> None:
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
    ("population.json", lambda d: d["log_odds"].update(edges=[1.0, 1.0]), "population.json: log_odds: .*must ascend"),
    ("population.json", lambda d: d["log_odds"]["counts"].append(1), "population.json: log_odds: .*one count"),
    *(
        (
            "population.json",
            lambda d, change=change: change(d, d["features"]["days_late"]),
            f"population.json: {message}",
        )
        for change, message in (
            (lambda d, _: d.update(rows=2**60), "rows"),
            (lambda d, _: d.update(rows=1), ".*features.days_late: counts .* has 1$"),
            (lambda _, each: each.update(missing=each["missing"] + 10**9), ".*features.days_late: counts 1"),
            (lambda _, each: each.update(missing=-1), r"features\.days_late\.missing"),
            (lambda _, each: each.update(min=1e308, max=-1e308), r"features\.days_late: .*min: must not"),
            (lambda _, each: each.update(bins=None), r"features\.days_late: .*min, max and bins"),
            (lambda _, each: each.update(levels={"A": -5}), r"features\.days_late\.levels"),
            (lambda _, each: each["bins"]["counts"].__setitem__(0, 10**300), r"features\.days_late\.bins\.counts"),
        )
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), FAULTS, ids=[message for _, _, message in FAULTS])
def test_a_bundle_with_an_invalid_document_is_rejected_and_the_error_names_the_field(
    small: SmallFamily, tmp_path: Path, name: str, change: Callable[[Any], object], message: str
) -> None:
    faulty = write_with_document(small.bundle_folder, tmp_path, name, change)

    with pytest.raises(BundleInvalid, match=f"^{message}"):
        read_bundle(faulty)


@pytest.mark.parametrize(
    "change",
    [
        lambda features: features.pop("orders"),
        lambda features: features.update(stranger=features["orders"]),
        lambda features: features["orders"].update(levels={"A": 0}),
    ],
    ids=["missing", "unknown", "levels"],
)
def test_a_bundle_whose_population_has_other_features_or_levels_than_its_schema_is_rejected(
    small: SmallFamily, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    faulty = write_with_document(small.bundle_folder, tmp_path, "population.json", lambda d: change(d["features"]))

    with pytest.raises(BundleInvalid, match=r"^population\.json: must have the features"):
        open_model(read_bundle(faulty))


@pytest.mark.parametrize("name", ["card.md", "schema.json", "golden.json"])
def test_a_bundle_with_a_file_that_is_not_utf_8_is_rejected_and_the_error_names_the_file(
    small: SmallFamily, tmp_path: Path, name: str
) -> None:
    faulty = write_with_file(small.bundle_folder, tmp_path, name, b"\xff\xfe\x00")

    with pytest.raises(BundleInvalid, match=f"^{name}"):
        read_bundle(faulty)


@contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """Make the operating system reject files larger than `size` bytes while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_at_any_file_leaves_nothing_behind(small: SmallFamily, tmp_path: Path) -> None:
    files, manifest = read_files(small.bundle_folder), read_manifest(small.bundle_folder)
    sizes = sorted(len(content) for content in files.values())

    for size in sizes:
        with limit_file_size(size - 1), pytest.raises(OSError, match="File too large"):
            write_bundle(tmp_path, manifest, files)

        assert list((tmp_path / "credit").iterdir()) == []
    assert read_bundle(write_bundle(tmp_path, manifest, files)).bundle_id == small.bundle_folder.name


def test_content_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    contents: dict[str, Any] = {"first": b"1", "second": "no bytes", "third": b"3"}

    with pytest.raises(TypeError):
        write_folder(tmp_path / "folder", contents)

    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_replacement_fails_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "ACTIVE.toml"
    write_file(path, b"before")

    with limit_file_size(3), pytest.raises(OSError, match="File too large"):
        write_file(path, b"after")

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["score.onnx", "surplus.txt"])
def test_a_bundle_with_a_missing_or_an_additional_file_is_not_written(
    small: SmallFamily, tmp_path: Path, name: str
) -> None:
    files = read_files(small.bundle_folder)
    files = {**files, name: b""} if name not in files else {k: v for k, v in files.items() if k != name}

    with pytest.raises(AssertionError, match="a bundle has exactly"):
        write_bundle(tmp_path, read_manifest(small.bundle_folder), files)

    assert list(tmp_path.iterdir()) == []


def test_the_bundle_that_these_tests_use_can_be_opened(small: SmallFamily) -> None:
    open_model(small.bundle())
