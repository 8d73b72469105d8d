"""A scoring run or feature file uses exactly one bundle, which must fit the spec."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.catalog import _write_active, activate
from tests.conftest import ROOT
from tests.small import ACCEPTING, SPEC, SmallFamily, made_customers, write_small_family
from tests.training.conftest import Trained
from training.__main__ import features, score
from training.errors import SpecInvalid
from training.scoring.bundle_selection import check_compatible, select_bundle, select_decline_bundle
from training.spec import read_spec, spec_digest

SMALLER = SPEC.replace("max_leaves = 6", "max_leaves = 4").replace('base = "none"', ACCEPTING)


@pytest.fixture(scope="module")
def two(small: SmallFamily, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Write a catalog with two bundles of the family credit and one bundle of the family other; return its path and the ids."""
    folder = tmp_path_factory.mktemp("two")
    bundles = folder / "bundles"
    shutil.copytree(small.bundles, bundles)
    ids = [small.bundle_folder.name]
    for number, spec in enumerate((SMALLER, SMALLER.replace('family = "credit"', 'family = "other"'))):
        (folder / str(number)).mkdir()
        made = write_small_family(folder / str(number), spec, made_customers(600))
        shutil.copytree(made.bundle_folder, bundles / made.bundle_folder.parent.name / made.bundle_folder.name)
        ids.append(made.bundle_folder.name)
    return bundles, ids


def test_a_bundle_of_another_family_is_rejected_for_churn_and_for_decline(two: tuple[Path, list[str]]) -> None:
    bundles, ids = two

    assert select_bundle(bundles, "credit", ids[1]).bundle_id == ids[1]
    with pytest.raises(
        SpecInvalid, match=r"belongs to the family 'other', not 'credit'; specify a bundle of 'credit' with --bundle"
    ):
        select_bundle(bundles, "credit", ids[2])
    with pytest.raises(SpecInvalid, match=r"belongs to the family 'credit', not 'credit_decline'; .* --decline"):
        select_decline_bundle(bundles, "credit", ids[0])


def test_two_active_bundles_are_rejected_rather_than_ignored(two: tuple[Path, list[str]], tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    shutil.copytree(two[0], bundles)
    (bundles / "other_decline").mkdir()

    assert select_decline_bundle(bundles, "credit", None) is None
    for family in ("credit", "other_decline"):
        _write_active(bundles, family, dict(zip(("DE", "FR"), two[1], strict=False)))
    with pytest.raises(
        SpecInvalid, match=r"credit: exactly one bundle must be active, got 2 \(.*\); specify a bundle with --bundle"
    ):
        select_bundle(bundles, "credit", None)
    with pytest.raises(
        SpecInvalid,
        match=r"other_decline: exactly one bundle must be active, got 2 \(.*\); specify a bundle with --decline",
    ):
        select_decline_bundle(bundles, "other", None)


def test_options_without_effect_are_rejected(small: SmallFamily, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="--data and --status require --at"):
        score(ROOT / "training" / "churn.toml", bundles=tmp_path, data=small.table)
    with pytest.raises(SpecInvalid, match=r"--status requires a spec with a \[log\]"):
        features(small.spec, bundles=small.bundles, bundle=small.bundle_folder.name, status=small.table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("max = 365", "max = 400"),
            r"features\.days_late: number \[0, 365\] days in the bundle, number \[0, 400\] days",
        ),
        (('name = "orders"', 'name = "baskets"\ncolumn = "orders"'), r"features\.orders: .* missing now"),
    ],
)
def test_a_spec_whose_features_differ_from_the_bundle_is_rejected(
    change: tuple[str, str], message: str, small: SmallFamily, tmp_path: Path
) -> None:
    shutil.copytree(small.bundles, tmp_path / "bundles")
    activate(tmp_path / "bundles", small.bundle_folder.name)
    (tmp_path / "spec.toml").write_text(SPEC.replace(*change))

    with pytest.raises(SpecInvalid, match=message):
        features(tmp_path / "spec.toml", bundles=tmp_path / "bundles", to=tmp_path / "f.parquet", data=small.table)

    assert not (tmp_path / "f.parquet").exists()


def test_a_notice_is_printed_only_for_a_changed_spec(small: SmallFamily, tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "spec.toml").write_text(SMALLER)

    check_compatible(read_spec(small.spec), spec_digest(small.spec), small.bundle(), said.append)
    assert not said
    check_compatible(
        read_spec(tmp_path / "spec.toml"), spec_digest(tmp_path / "spec.toml"), small.bundle(), said.append
    )
    assert len(said) == 1
    assert said[0].startswith("the spec has changed since bundle ")


def test_settings_or_sql_that_differ_from_the_bundle_are_rejected(trained: Trained) -> None:
    spec, said = read_spec(trained.made.spec), list[str]()
    digest, bundle = spec_digest(trained.made.spec), trained.churn.bundle
    assert spec.snapshots is not None

    for one in (bundle, trained.decline.bundle):
        check_compatible(spec, digest, one, said.append)
    assert not said
    for name, value in (("horizon_days", 41), ("active_days", 61), ("horizon_gaps", None), ("tenure_days_min", 7)):
        changed = spec.model_copy(update={"snapshots": spec.snapshots.model_copy(update={name: value})})
        for one in (bundle, trained.decline.bundle):
            with pytest.raises(SpecInvalid, match=rf"  snapshots\.{name}: .* in the bundle, {value} now"):
                check_compatible(changed, digest, one, said.append)
    for name in ("features_sql_sha256", "standing_sql_sha256"):
        with pytest.raises(SpecInvalid, match=f"  {name}: 0000"):
            check_compatible(spec, digest, made_from(bundle, {name: "0" * 64}), said.append)
    check_compatible(spec, digest, made_from(bundle, {"spec_sha256": digest}, keeps=False), said.append)
    assert len(said) == 1
    assert "does not record its features.sql and snapshots" in said[0]


def test_a_digest_that_an_earlier_version_recorded_is_accepted(trained: Trained) -> None:
    """Digests of early bundles also covered the comments of features.sql. The SQL statement has not changed since."""
    spec, digest = read_spec(trained.made.spec), spec_digest(trained.made.spec)
    earlier = {"features_sql_sha256": "2fa21ae9dd64335b6bd5d87c05c6156fa60bae14bff3950077d756dd5c760e0e"}

    check_compatible(spec, digest, made_from(trained.churn.bundle, earlier), lambda _: None)


def made_from(bundle: Bundle, others: dict[str, str], *, keeps: bool = True) -> Bundle:
    """Return the bundle with additional entries in `made_from` of its manifest; `keeps` keeps the existing entries."""
    then = bundle.manifest.made_from if keeps else {}
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"made_from": then | others}))
