"""Activation changes atomically which bundle serves a market, after the bundle has reproduced its golden rows."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from models.bundle import MANIFEST
from models.catalog import (
    ACTIVE,
    _write_active,
    activate,
    find_bundle,
    list_bundle_folders,
    list_families,
    read_active,
    read_entry,
)
from models.errors import ActivationRejected, BundleInvalid
from tests.models.changed_bundles import write_with_document, write_with_file
from tests.small import SmallFamily


@pytest.fixture
def bundles(small: SmallFamily, tmp_path: Path) -> Path:
    """Return a catalog with one bundle of the family credit, which may serve DE and FR; none is active."""
    shutil.copytree(small.bundle_folder, tmp_path / "bundles" / "credit" / small.bundle_folder.name)
    return tmp_path / "bundles"


@pytest.fixture
def first(small: SmallFamily) -> str:
    """Return the bundle_id of the first bundle in the catalog."""
    return small.bundle_folder.name


@pytest.fixture
def second(bundles: Path, small: SmallFamily) -> str:
    """Add a second bundle, which differs from the first in its card, and return its bundle_id."""
    return write_with_file(small.bundle_folder, bundles, "card.md", b"# The next one\n").name


def test_no_bundle_serves_a_market_before_it_is_activated(bundles: Path) -> None:
    assert read_active(bundles, "credit") == {}


def test_a_bundle_activated_without_markets_serves_all_markets_of_its_manifest(bundles: Path, first: str) -> None:
    bundle, markets = activate(bundles, first)

    assert (bundle.bundle_id, markets) == (first, ("DE", "FR"))
    assert read_active(bundles, "credit") == {"DE": first, "FR": first}


def test_activating_a_bundle_for_one_market_does_not_change_the_other_markets(
    bundles: Path, first: str, second: str
) -> None:
    activate(bundles, first)

    activate(bundles, second, ("FR",))

    assert read_active(bundles, "credit") == {"DE": first, "FR": second}


def test_a_rollback_activates_the_previous_bundle_again(bundles: Path, first: str, second: str) -> None:
    activate(bundles, first)
    before = (bundles / "credit" / ACTIVE).read_bytes()

    activate(bundles, second)
    activate(bundles, first)

    assert (bundles / "credit" / ACTIVE).read_bytes() == before


def test_a_bundle_is_found_by_eight_characters_of_its_id(bundles: Path, first: str) -> None:
    assert find_bundle(bundles, first[:8]).name == first
    assert activate(bundles, first[:8])[0].bundle_id == first


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_prefix_of_fewer_than_eight_characters_is_rejected(bundles: Path, first: str, length: int) -> None:
    with pytest.raises(ActivationRejected, match="too short; specify at least 8 characters"):
        activate(bundles, first[:length])

    assert not (bundles / "credit" / ACTIVE).exists()


def test_a_prefix_that_matches_no_bundle_is_rejected(bundles: Path) -> None:
    with pytest.raises(ActivationRejected, match=r"zzzzzzzz: matches no bundle in .*; check the bundle_id"):
        activate(bundles, "zzzzzzzz")


@pytest.mark.parametrize("family", ["credit", "churn"])
def test_a_prefix_that_matches_two_bundles_is_rejected_even_across_families(
    bundles: Path, first: str, family: str
) -> None:
    twin = bundles / family / (first[:-1] + ("0" if first[-1] != "0" else "1"))
    twin.mkdir(parents=True)

    with pytest.raises(ActivationRejected, match=r"matches 2 bundles in .*; specify more characters"):
        activate(bundles, first[:12])

    assert find_bundle(bundles, first).name == first


def test_a_market_outside_the_manifest_is_rejected_by_name_and_nothing_changes(bundles: Path, first: str) -> None:
    with pytest.raises(ActivationRejected, match="may serve DE, FR, not IT, US"):
        activate(bundles, first, ("DE", "US", "IT"))

    assert read_active(bundles, "credit") == {}


def test_a_damaged_bundle_is_rejected_and_the_active_bundle_stays_active(
    bundles: Path, first: str, second: str
) -> None:
    activate(bundles, first)
    before = (bundles / "credit" / ACTIVE).read_bytes()
    model = bundles / "credit" / second / "score.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")

    with pytest.raises(BundleInvalid, match=r"^score[.]onnx: its SHA-256 differs"):
        activate(bundles, second)

    assert (bundles / "credit" / ACTIVE).read_bytes() == before


def test_a_bundle_that_does_not_reproduce_its_golden_rows_is_rejected_and_the_active_one_stays(
    bundles: Path, small: SmallFamily, first: str
) -> None:
    activate(bundles, first)
    before = (bundles / "credit" / ACTIVE).read_bytes()
    wrong = write_with_document(small.bundle_folder, bundles, "golden.json", lambda d: d["rows"][3].update(margin=0.5))

    with pytest.raises(BundleInvalid, match=r"^golden[.]json: rows\[3\]"):
        activate(bundles, wrong.name)

    assert (bundles / "credit" / ACTIVE).read_bytes() == before


def test_a_bundle_in_the_folder_of_another_family_is_rejected(bundles: Path, first: str) -> None:
    """A credit model must never answer a question about churn."""
    (bundles / "churn").mkdir()
    (bundles / "credit" / first).rename(bundles / "churn" / first)

    with pytest.raises((ActivationRejected, BundleInvalid)):
        activate(bundles, first)

    assert not (bundles / "churn" / ACTIVE).exists()


BROKEN = {
    "not TOML": b"[markets\nDE = 1",
    "too large": b"#" * 1_000_001,
    "not text": b"\xff\xfe",
    "a number": b"[markets]\nDE = 7\n",
    "a list": b'[markets]\nDE = ["a"]\n',
    "not a table": b"markets = 3\n",
    "duplicate key": b'[markets]\nDE = "a"\nDE = "b"\n',
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_active_toml_is_rejected_and_never_overwritten(bundles: Path, first: str, name: str) -> None:
    path = bundles / "credit" / ACTIVE
    path.write_bytes(BROKEN[name])

    with pytest.raises(ActivationRejected, match=r"^credit/ACTIVE[.]toml: "):
        read_active(bundles, "credit")
    with pytest.raises(ActivationRejected, match=r"^credit/ACTIVE[.]toml: "):
        activate(bundles, first)

    assert path.read_bytes() == BROKEN[name]


def test_activations_are_read_back_as_they_were_written(bundles: Path) -> None:
    written = {"TW": "a" * 64, "DE": "b" * 64}

    _write_active(bundles, "credit", written)

    assert read_active(bundles, "credit") == written
    assert sorted(path.name for path in (bundles / "credit").iterdir() if path.is_file()) == [ACTIVE]


def test_an_entry_has_a_valid_bundle_or_the_reason_why_it_is_invalid(bundles: Path, first: str, second: str) -> None:
    (bundles / "credit" / second / "card.md").unlink()

    valid, invalid = (read_entry(bundles / "credit" / name) for name in (first, second))

    assert (valid.family, valid.name, valid.problem) == ("credit", first, "")
    assert valid.bundle is not None
    assert invalid.bundle is None
    assert invalid.problem.startswith("card.md: cannot be read")


def test_an_unfinished_write_is_listed_neither_as_a_family_nor_as_a_bundle(bundles: Path, first: str) -> None:
    (bundles / ".half").mkdir()
    (bundles / "credit" / ".half").mkdir()

    assert list_families(bundles) == ["credit"]
    assert [path.name for path in list_bundle_folders(bundles, "credit")] == [first]


def test_a_missing_catalog_has_no_families(tmp_path: Path) -> None:
    assert list_families(tmp_path / "nothing") == []


def test_the_problem_of_a_crafted_bundle_is_short_because_every_list_of_bundles_contains_it(
    small: SmallFamily, tmp_path: Path
) -> None:
    manifest = json.loads((small.bundle_folder / MANIFEST).read_bytes())
    manifest["files"] = {f"{number:0100}": "0" * 64 for number in range(5000)}
    content = json.dumps(manifest).encode()
    folder = tmp_path / "credit" / hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(content)

    assert 0 < len(read_entry(folder).problem) <= 1000


def test_a_folder_whose_name_is_not_utf_8_is_listed_with_a_name_that_an_answer_can_contain(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"credit\xfe") / os.fsdecode(b"bundle\xff")
    folder.mkdir(parents=True)

    entry = read_entry(folder)

    assert (entry.family, entry.name) == ("credit\\xfe", "bundle\\xff")
    assert entry.problem.encode()
