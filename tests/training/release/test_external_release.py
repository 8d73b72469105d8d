"""`python -m training export --spec` releases a model that was fitted elsewhere, or rejects it with a reason."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from models.bundle import Bundle, read_bundle
from models.model import open_model
from training.commands.export import check_export_options, export_bundle
from training.errors import SpecInvalid, TrainingError
from training.export.trees import read_ensemble
from training.external_features import match_features
from training.model_file import read_model_file
from training.sources.table import read_table_samples
from training.spec import read_spec

SPEC = """
family = "credit"
title = "External"
purpose = "Tests"
population = "generated"

[table]
path = "later.parquet"
customer_id = "number"
label = "bad"
market = "DE"
as_of = 2026-01-01
"""
FEATURES = """
[[features]]
name = "delay"

[[features]]
name = "sector"
kind = "category"

[[features]]
name = "turnover"
"""
SECTORS = ["bar", "canteen", "hotel", "school"]
NAMES = ["delay", "sector", "turnover"]
SETTINGS = {"objective": "binary", "num_leaves": 6, "verbose": -1, "num_threads": 1, "min_data_per_group": 10}


def customers(count: int, seed: int) -> pd.DataFrame:
    """Return generated customers with a category and missing values."""
    random = np.random.default_rng(seed)
    delay, sector = random.exponential(10, count).round(1), random.integers(0, 4, count)
    chance = 0.05 + 0.5 * (delay > 12) + 0.2 * (sector == 2)
    return pd.DataFrame(
        {
            "number": [f"C{seed}-{number}" for number in range(count)],
            "delay": np.where(random.random(count) < 0.1, np.nan, delay),
            "sector": np.where(random.random(count) < 0.1, None, np.array(SECTORS)[sector]),
            "turnover": random.normal(100, 30, count).round(2),
            "bad": (random.random(count) < chance).astype(int),
        }
    )


def frame_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the features of a table as a frame with an unordered category."""
    return table[NAMES].assign(sector=pd.Categorical(table["sector"], categories=SECTORS))


def fit_frame(folder: Path, frame: pd.DataFrame, label: pd.Series, **settings: Any) -> lightgbm.Booster:
    """Fit a model on a frame with LightGBM alone, and save it as model.txt."""
    booster = lightgbm.train({**SETTINGS, **settings}, lightgbm.Dataset(frame, label), 20)
    booster.save_model(folder / "model.txt")
    return booster


def fit_external(folder: Path, **settings: Any) -> lightgbm.Booster:
    """Fit a model on customers that are not in the data; write the model and the data to a folder."""
    table = customers(2000, 1)
    customers(1500, 2).to_parquet(folder / "later.parquet")
    return fit_frame(folder, frame_of(table), table["bad"], **settings)


def export(folder: Path, spec: str) -> None:
    """Export the model of a folder with a spec."""
    (folder / "spec.toml").write_text(spec)
    export_bundle(folder / "model.txt", folder / "spec.toml", folder / "bundles", folder / "files", None, None, 1)


def read_release(folder: Path) -> Bundle:
    """Return the only bundle of a folder."""
    return read_bundle(next(path for path in (folder / "bundles" / "credit").iterdir() if path.is_dir()))


def rejection(folder: Path, spec: str) -> str:
    """Run an export that must fail, check that it writes nothing, and return its message on one line."""
    with pytest.raises(TrainingError) as refused:
        export(folder, spec)
    assert not (folder / "bundles").exists()
    assert not (folder / "files").exists()
    return " ".join(str(refused.value).split())


def scored_margins(bundle: Bundle, table: pd.DataFrame) -> list[float]:
    """Return the margins of a bundle for a table of level names, which are encoded as the server encodes a request."""
    names, schema = bundle.schema.names, bundle.schema
    rows = [
        [np.nan if pd.isna(value) else schema.encode_value(name, value) for name, value in zip(names, row, strict=True)]
        for row in table[NAMES].itertuples(index=False)
    ]
    return open_model(bundle).scorer.margins(np.array(rows)).tolist()


def test_a_bundle_reproduces_the_model_on_names_of_levels(tmp_path: Path) -> None:
    booster, table = fit_external(tmp_path), customers(400, 3)

    export(tmp_path, SPEC + FEATURES)

    bundle = read_release(tmp_path)
    expected = np.asarray(booster.predict(frame_of(table), raw_score=True, num_threads=1)).tolist()
    assert scored_margins(bundle, table) == expected
    assert bundle.schema.features[1].levels == tuple(SECTORS)
    content = (tmp_path / "model.txt").read_bytes()
    assert bundle.manifest.made_from["model_sha256"] == hashlib.sha256(content).hexdigest()


def test_the_digest_of_the_model_is_that_of_the_bytes_of_its_file(tmp_path: Path) -> None:
    fit_external(tmp_path)
    path = tmp_path / "model.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    assert read_model_file(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def matched_levels(folder: Path, frame: pd.DataFrame, features: str) -> list[tuple[str, ...] | None]:
    """Fit a model on a frame, and return the levels of the features of a spec that is matched with it."""
    booster = fit_frame(folder, frame, customers(2000, 1)["bad"])
    (folder / "spec.toml").write_text(SPEC + features)
    spec = match_features(read_spec(folder / "spec.toml"), booster, read_ensemble(booster))
    return [feature.levels for feature in spec.features]


def test_an_ordered_category_beside_a_category_with_stated_levels_is_a_number(tmp_path: Path) -> None:
    table = customers(2000, 1)
    band = pd.cut(table["turnover"], [-np.inf, 80, 120, np.inf], labels=["low", "middle", "high"])
    frame = frame_of(table).assign(turnover=band)
    stated = f'kind = "category"\nlevels = {SECTORS}'.replace("'", '"')

    with pytest.raises(TrainingError, match=r"ordered categories of pandas .*set the levels of every category"):
        matched_levels(tmp_path, frame, FEATURES)
    assert matched_levels(tmp_path, frame, FEATURES.replace('kind = "category"', stated)) == [
        None,
        tuple(SECTORS),
        None,
    ]


def test_logical_categories_have_the_names_that_the_reader_gives_them(tmp_path: Path) -> None:
    table = customers(2000, 1)
    late = pd.Categorical(table["delay"] > 12)
    table.assign(sector=late.astype(bool)).to_parquet(tmp_path / "later.parquet")

    found = matched_levels(tmp_path, frame_of(table).assign(sector=late), FEATURES)
    (tmp_path / "spec.toml").write_text(SPEC + FEATURES)
    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "later.parquet")

    assert found == [None, ("False", "True"), None]
    assert samples.levels["sector"] == ("False", "True")


def test_the_rows_of_a_bagged_model_are_those_of_its_largest_tree(tmp_path: Path) -> None:
    booster = fit_external(tmp_path, boosting="rf", bagging_freq=1, bagging_fraction=0.6)
    counts = [tree["internal_count"] for tree in (one["tree_structure"] for one in booster.dump_model()["tree_info"])]
    assert counts[0] < max(counts)

    export(tmp_path, SPEC + FEATURES + '[baseline]\nmethod = "path_dependent"\n')

    assert read_release(tmp_path).baseline.row_count == max(counts)


def test_without_features_in_the_spec_the_features_are_those_of_the_model(tmp_path: Path) -> None:
    booster = fit_external(tmp_path)
    matched = []
    for text in (SPEC, SPEC + FEATURES):
        (tmp_path / "spec.toml").write_text(text)
        matched.append(match_features(read_spec(tmp_path / "spec.toml"), booster, read_ensemble(booster)).features)

    assert matched[0] == matched[1]
    assert [feature.name for feature in matched[0]] == NAMES


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "cross_entropy"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
        {"sigmoid": 0.4},
    ],
    ids=["cross_entropy", "rf", "sigmoid"],
)
def test_the_probabilities_of_other_kinds_of_models_are_calibrated_and_ordered_as_lightgbms(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    booster = fit_external(tmp_path, **settings)
    table = customers(4000, 4)

    export(tmp_path, SPEC + FEATURES)

    bundle = read_release(tmp_path)
    card, margins = bundle.scorecard, np.array(scored_margins(bundle, table))
    assert margins.tolist() == np.asarray(booster.predict(frame_of(table), raw_score=True, num_threads=1)).tolist()
    calibrated = 1 / (1 + np.exp(-(card.slope * margins + card.intercept)))
    assert abs(calibrated.mean() - table["bad"].mean()) < 0.03
    order = np.argsort(np.asarray(booster.predict(frame_of(table))), kind="stable")
    assert np.all(np.diff(calibrated[order]) >= -1e-12)


def test_the_spec_names_the_levels_of_a_model_that_was_fitted_on_codes(tmp_path: Path) -> None:
    fit_external(tmp_path)
    table, later = customers(2000, 1), customers(300, 3)
    codes = frame_of(table).assign(sector=lambda frame: frame["sector"].cat.codes.replace({-1: np.nan}))
    data = lightgbm.Dataset(codes, table["bad"], categorical_feature=["sector"])
    booster = lightgbm.train(SETTINGS, data, 20)
    booster.save_model(tmp_path / "model.txt")
    levels = 'kind = "category"\nlevels = ["bar", "canteen", "hotel", "school"]'

    assert "of kind = 'category' (sector), 1 of them without levels" in rejection(tmp_path, SPEC + FEATURES)
    renamed = FEATURES.replace('kind = "category"', 'kind = "category"\ncolumn = "Branche (WZ)"')
    assert "(sector (column 'Branche (WZ)')), 1 of them" in rejection(tmp_path, SPEC + renamed)
    fewer = rejection(tmp_path, SPEC + FEATURES.replace('kind = "category"', levels.replace(', "school"', "")))
    export(tmp_path, SPEC + FEATURES.replace('kind = "category"', levels))

    assert "codes up to 3, but the spec names 3 levels" in fewer
    encoded = frame_of(later).assign(sector=lambda frame: frame["sector"].cat.codes.replace({-1: np.nan}))
    expected = np.asarray(booster.predict(encoded.astype(float), raw_score=True, num_threads=1)).tolist()
    assert scored_margins(read_release(tmp_path), later) == expected


DIFFERENT_SPECS: dict[str, tuple[Callable[[str], str], str]] = {
    "a feature is missing": (
        lambda text: text.replace('[[features]]\nname = "turnover"\n', ""),
        "features of the model that the spec does not list: 'turnover'",
    ),
    "a feature is unknown": (
        lambda text: text + '[[features]]\nname = "bonus"\n',
        "features that the model does not have: bonus; remove",
    ),
    "an unknown feature has another name in the data": (
        lambda text: text + '[[features]]\nname = "bonus"\ncolumn = "Bonus €"\n',
        "features that the model does not have: bonus (column 'Bonus €'); remove",
    ),
    "a category as a number, with another name in the data": (
        lambda text: text.replace('kind = "category"\n', 'column = "Branche (WZ)"\n'),
        "sector (column 'Branche (WZ)'): the model was fitted with it as a category; set kind = 'category'",
    ),
    "another order": (
        lambda text: '[[features]]\nname = "turnover"\n' + text.replace('[[features]]\nname = "turnover"\n', ""),
        "feature 1 is 'delay' in the model and 'turnover' in the spec",
    ),
    "a category as a number": (
        lambda text: text.replace('kind = "category"\n', ""),
        "sector: the model was fitted with it as a category; set kind = 'category'",
    ),
    "a number as a category": (
        lambda text: text.replace('name = "delay"', 'name = "delay"\nkind = "category"'),
        "delay: the model was fitted with it as a number",
    ),
    "a level is not named": (
        lambda text: text.replace('"category"', '"category"\nlevels = ["bar", "canteen", "hotel"]'),
        "the spec does not name 'school'",
    ),
    "levels in another order": (
        lambda text: text.replace('"category"', '"category"\nlevels = ["canteen", "bar", "hotel", "school"]'),
        "the order or number differs",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT_SPECS)
def test_a_model_whose_features_or_levels_differ_from_the_spec_is_rejected_before_the_data_are_read(
    tmp_path: Path, case: str
) -> None:
    change, message = DIFFERENT_SPECS[case]
    fit_external(tmp_path)
    (tmp_path / "later.parquet").unlink()

    assert message in rejection(tmp_path, SPEC + change(FEATURES))


def test_a_model_of_another_objective_is_rejected_before_the_data_are_read(tmp_path: Path) -> None:
    for objective in ("regression", "cross_entropy_lambda", "poisson"):
        fit_external(tmp_path, objective=objective)
        (tmp_path / "later.parquet").unlink()

        assert f"objective is '{objective}'" in rejection(tmp_path, SPEC + FEATURES)


def test_a_model_that_ranks_the_data_at_random_is_rejected(tmp_path: Path) -> None:
    fit_external(tmp_path)
    table = customers(1500, 2)
    table.assign(bad=np.random.default_rng(5).permutation(table["bad"])).to_parquet(tmp_path / "later.parquet")

    assert "ranks the calibration part at random" in rejection(tmp_path, SPEC + FEATURES)


def test_a_calibration_part_that_is_too_small_is_rejected_with_the_number_that_is_required(tmp_path: Path) -> None:
    fit_external(tmp_path)
    customers(300, 2).to_parquet(tmp_path / "later.parquet")

    assert "calibration part with at least 30 rows of each outcome" in rejection(tmp_path, SPEC + FEATURES)


def test_data_that_write_the_levels_in_another_way_are_rejected(tmp_path: Path) -> None:
    fit_external(tmp_path)
    table = customers(1500, 2)
    table.assign(sector=table["sector"].str.upper()).to_parquet(tmp_path / "later.parquet")

    said = rejection(tmp_path, SPEC + FEATURES)

    assert "column 'sector': none of its" in said
    assert 'the levels are "bar", "canteen", "hotel", "school"' in said


def test_data_that_write_most_levels_in_another_way_are_rejected(tmp_path: Path) -> None:
    fit_external(tmp_path)
    table = customers(1500, 2)
    others = table["sector"].where(table["sector"] == "bar", table["sector"].str.upper())
    table.assign(sector=others).to_parquet(tmp_path / "later.parquet")

    assert "features.sector, column 'sector': the model does not know the level of" in rejection(
        tmp_path, SPEC + FEATURES
    )


def test_levels_that_are_numbers_are_named_as_in_the_data(tmp_path: Path) -> None:
    table, later = customers(2000, 1), customers(1500, 2)
    numbers = {name: 10 * (position + 1) for position, name in enumerate(SECTORS)}
    fitted = frame_of(table).assign(sector=pd.Categorical(table["sector"].map(numbers)))
    booster = fit_frame(tmp_path, fitted, table["bad"])
    assert booster.pandas_categorical == [[10.0, 20.0, 30.0, 40.0]]
    later.assign(sector=later["sector"].map(numbers)).to_csv(tmp_path / "later.csv", index=False)

    export(tmp_path, (SPEC + FEATURES).replace("later.parquet", "later.csv"))

    assert read_release(tmp_path).schema.features[1].levels == ("10", "20", "30", "40")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, None, None, None, None), "set exactly one of --spec"),
        ((Path("to"), Path("spec"), None, None, None), "set exactly one of --spec"),
        ((None, Path("spec"), Path("rows"), None, None), "remove --baseline"),
        ((Path("to"), None, None, Path("data"), None), "--data and --status require --spec"),
    ],
)
def test_options_that_exclude_each_other_are_rejected(options: tuple[Path | None, ...], message: str) -> None:
    with pytest.raises(SpecInvalid, match=message):
        check_export_options(*options)
