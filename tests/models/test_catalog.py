"""Activation changes atomically which bundle serves a market, after the bundle has reproduced its golden rows."""

import shutil
from pathlib import Path

import pytest

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
from tests.models.changed_bundles import rewritten, with_document
from tests.small import SmallFamily


@pytest.fixture
def bundles(small: SmallFamily, tmp_path: Path) -> Path:
    """Return a catalog with one bundle of the family credit, which may serve DE and FR; none is active."""
    shutil.copytree(small.bundle_folder, tmp_path / "bundles" / "credit" / small.bundle_folder.name)
    return tmp_path / "bundles"


@pytest.fixture
def first(small: SmallFamily) -> str:
    """Return the bundle_id of the bundle that is there."""
    return small.bundle_folder.name


@pytest.fixture
def second(bundles: Path, small: SmallFamily) -> str:
    """Add another bundle, which differs by its card, and give its bundle_id."""
    return rewritten(small.bundle_folder, bundles, "card.md", b"# The next one\n").name


def test_nothing_serves_before_it_is_activated(bundles: Path) -> None:
    assert read_active(bundles, "credit") == {}


def test_a_bundle_activated_without_markets_serves_all_that_it_may(bundles: Path, first: str) -> None:
    bundle, markets = activate(bundles, first)

    assert (bundle.bundle_id, markets) == (first, ("DE", "FR"))
    assert read_active(bundles, "credit") == {"DE": first, "FR": first}


def test_a_bundle_activated_for_one_market_leaves_the_others_as_they_were(
    bundles: Path, first: str, second: str
) -> None:
    activate(bundles, first)

    activate(bundles, second, ("FR",))

    assert read_active(bundles, "credit") == {"DE": first, "FR": second}


def test_rolling_back_is_activating_what_served_before(bundles: Path, first: str, second: str) -> None:
    activate(bundles, first)
    before = (bundles / "credit" / ACTIVE).read_bytes()

    activate(bundles, second)
    activate(bundles, first)

    assert (bundles / "credit" / ACTIVE).read_bytes() == before


def test_eight_characters_name_a_bundle(bundles: Path, first: str) -> None:
    assert find_bundle(bundles, first[:8]).name == first
    assert activate(bundles, first[:8])[0].bundle_id == first


@pytest.mark.parametrize("length", [0, 1, 7])
def test_fewer_than_eight_characters_name_nothing(bundles: Path, first: str, length: int) -> None:
    with pytest.raises(ActivationRejected, match="too short; give at least 8 characters"):
        activate(bundles, first[:length])

    assert not (bundles / "credit" / ACTIVE).exists()


def test_a_beginning_that_no_bundle_has_names_nothing(bundles: Path) -> None:
    with pytest.raises(ActivationRejected, match=r"zzzzzzzz: matches no bundle in .*; check the bundle_id"):
        activate(bundles, "zzzzzzzz")


@pytest.mark.parametrize("family", ["credit", "churn"])
def test_a_beginning_that_two_bundles_have_names_neither_also_across_families(
    bundles: Path, first: str, family: str
) -> None:
    twin = bundles / family / (first[:-1] + ("0" if first[-1] != "0" else "1"))
    twin.mkdir(parents=True)

    with pytest.raises(ActivationRejected, match=r"matches 2 bundles in .*; give more characters"):
        activate(bundles, first[:12])

    assert find_bundle(bundles, first).name == first


def test_a_market_that_the_bundle_may_not_serve_is_rejected_and_named_and_nothing_changes(
    bundles: Path, first: str
) -> None:
    with pytest.raises(ActivationRejected, match="may serve DE, FR, not IT, US"):
        activate(bundles, first, ("DE", "US", "IT"))

    assert read_active(bundles, "credit") == {}


def test_a_bundle_that_is_not_whole_is_rejected_and_what_serves_goes_on(bundles: Path, first: str, second: str) -> None:
    activate(bundles, first)
    before = (bundles / "credit" / ACTIVE).read_bytes()
    model = bundles / "credit" / second / "score.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")

    with pytest.raises(BundleInvalid, match=r"^score[.]onnx: its SHA-256 differs"):
        activate(bundles, second)

    assert (bundles / "credit" / ACTIVE).read_bytes() == before


def test_a_bundle_that_does_not_reproduce_itself_is_rejected_and_what_serves_goes_on(
    bundles: Path, small: SmallFamily, first: str
) -> None:
    activate(bundles, first)
    before = (bundles / "credit" / ACTIVE).read_bytes()
    wrong = with_document(small.bundle_folder, bundles, "golden.json", lambda d: d["rows"][3].update(margin=0.5))

    with pytest.raises(BundleInvalid, match=r"^golden[.]json: rows\[3\]"):
        activate(bundles, wrong.name)

    assert (bundles / "credit" / ACTIVE).read_bytes() == before


def test_a_bundle_in_the_folder_of_another_family_is_rejected(bundles: Path, first: str) -> None:
    """The family is part of what the bundle is: a credit model must never answer about churn."""
    (bundles / "churn").mkdir()
    (bundles / "credit" / first).rename(bundles / "churn" / first)

    with pytest.raises((ActivationRejected, BundleInvalid)):
        activate(bundles, first)

    assert not (bundles / "churn" / ACTIVE).exists()


BROKEN = {
    "no TOML": b"[markets\nDE = 1",
    "no text": b"\xff\xfe",
    "a number": b"[markets]\nDE = 7\n",
    "a list": b'[markets]\nDE = ["a"]\n',
    "no table": b"markets = 3\n",
    "twice": b'[markets]\nDE = "a"\nDE = "b"\n',
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_list_of_what_serves_is_rejected_by_name_and_left_for_a_person_to_mend(
    bundles: Path, first: str, name: str
) -> None:
    path = bundles / "credit" / ACTIVE
    path.write_bytes(BROKEN[name])

    with pytest.raises(ActivationRejected, match=r"^credit/ACTIVE[.]toml: "):
        read_active(bundles, "credit")
    with pytest.raises(ActivationRejected, match=r"^credit/ACTIVE[.]toml: "):
        activate(bundles, first)

    assert path.read_bytes() == BROKEN[name]


def test_what_serves_reads_back_as_it_was_written(bundles: Path) -> None:
    written = {"TW": "a" * 64, "DE": "b" * 64}

    _write_active(bundles, "credit", written)

    assert read_active(bundles, "credit") == written
    assert sorted(path.name for path in (bundles / "credit").iterdir() if path.is_file()) == [ACTIVE]


def test_an_entry_is_a_whole_bundle_or_says_why_it_is_rejected(bundles: Path, first: str, second: str) -> None:
    (bundles / "credit" / second / "card.md").unlink()

    whole, refused = (read_entry(bundles / "credit" / name) for name in (first, second))

    assert (whole.family, whole.name, whole.problem) == ("credit", first, "")
    assert whole.bundle is not None
    assert refused.bundle is None
    assert refused.problem.startswith("card.md: cannot be read")


def test_an_unfinished_write_is_no_family_and_no_bundle(bundles: Path, first: str) -> None:
    (bundles / ".half").mkdir()
    (bundles / "credit" / ".half").mkdir()

    assert list_families(bundles) == ["credit"]
    assert [path.name for path in list_bundle_folders(bundles, "credit")] == [first]


def test_a_catalog_that_is_not_there_has_no_families(tmp_path: Path) -> None:
    assert list_families(tmp_path / "nothing") == []
