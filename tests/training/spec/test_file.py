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
        (SPEC.replace('validation = "forward"\n', ""), "use validation = 'forward'"),
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
