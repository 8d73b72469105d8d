"""`python -m training export` exports and proves a LightGBM model, or rejects the model with a reason."""

import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from models.onnx_scorer import Scorer
from tests.conftest import ROOT, run
from tests.oracles import FloatArray, margins
from training.console import Console
from training.errors import TrainingError
from training.external_model import export_model

NAMES = ["age", "amount", "sector", "delay"]
SECTORS = 12
FEW = 2_000  # number of random rows of a short equivalence check
RF = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
SUPPORTED: dict[str, dict[str, object]] = {
    "rf": RF,
    "rf, sigmoid": {**RF, "sigmoid": 0.7},
    "rf, cross_entropy": {**RF, "objective": "cross_entropy"},
    "cross_entropy": {"objective": "cross_entropy"},
    "xentropy": {"objective": "xentropy"},
}


def external_rows(count: int, seed: int) -> FloatArray:
    """Return rows of an external data set: two numbers, a category as codes, and a number with missing values."""
    random = np.random.default_rng(seed)
    rows = np.column_stack(
        [
            random.integers(18, 80, count),
            random.lognormal(8, 1, count),
            random.integers(0, SECTORS, count),
            random.normal(0, 10, count),
        ]
    )
    rows[random.random(count) < 0.2, 3] = np.nan
    return rows


def external_model(names: list[str] = NAMES, **parameters: object) -> lightgbm.Booster:
    """Fit a model with LightGBM, without the training code of this project."""
    rows = external_rows(800, 1)
    label = (rows[:, 1] > 3000) ^ (rows[:, 2] % 3 == 0) ^ (np.random.default_rng(2).random(800) < 0.1)
    settings = {"objective": "binary", "num_leaves": 12, "verbose": -1, "seed": 3, **parameters}
    data = lightgbm.Dataset(rows, label.astype(float), feature_name=names, categorical_feature=[2])
    return lightgbm.train(settings, data, 15)


def save_model(folder: Path, booster: lightgbm.Booster) -> str:
    """Save a model with `save_model`, and return the path."""
    booster.save_model(folder / "external.txt")
    return str(folder / "external.txt")


def export_error(folder: Path, model: str, baseline: str | None = None) -> str:
    """Run an export that must fail, check that it writes nothing, and return its error message."""
    with pytest.raises(TrainingError) as refused:
        export_model(Path(model), folder / "out", Path(baseline) if baseline else None, Console(1))
    assert not (folder / "out").exists()
    return str(refused.value)


def test_export_writes_files_that_reproduce_the_model_and_prints_the_check(tmp_path: Path) -> None:
    booster, to = external_model(), tmp_path / "out"
    pd.DataFrame(external_rows(60, 5)[:, ::-1], columns=NAMES[::-1]).to_parquet(tmp_path / "rows.parquet")
    words = ["--to", str(to), "--baseline", str(tmp_path / "rows.parquet")]

    printed = run("training", "export", save_model(tmp_path, booster), *words)

    assert "interventional" in printed
    assert all(f"rows: {kind}" in printed for kind in ("data", "threshold", "leaf", "edge of a leaf", "random"))
    assert f"{100_000:,}" in printed
    answers_as(booster, to, "interventional")


def answers_as(booster: lightgbm.Booster, to: Path, method: str) -> None:
    """Check that the exported files reproduce the model on rows that are not in the baseline."""
    rows = external_rows(300, 9)
    found, parts = Scorer((to / "score.onnx").read_bytes(), (to / "explain.onnx").read_bytes()).explain(rows)
    verdict = json.loads((to / "gate.json").read_text())
    assert np.array_equal(found, margins(booster, rows))
    assert np.abs(verdict["base_margin"] + parts.sum(axis=1) - found).max() < 1e-9
    assert verdict["method"] == method
    assert sorted(path.name for path in to.iterdir()) == ["explain.onnx", "gate.json", "model.txt", "score.onnx"]
    assert lightgbm.Booster(model_file=to / "model.txt").model_to_string() == booster.model_to_string()


def test_without_a_baseline_explanations_are_path_dependent(tmp_path: Path) -> None:
    booster = external_model()

    export_model(Path(save_model(tmp_path, booster)), tmp_path / "out", None, Console(1), FEW)

    answers_as(booster, tmp_path / "out", "path_dependent")


def test_a_csv_with_empty_cells_is_a_valid_baseline(tmp_path: Path) -> None:
    pd.DataFrame(external_rows(40, 5), columns=NAMES).to_csv(tmp_path / "rows.csv", index=False)
    booster = external_model()

    verdict = export_model(
        Path(save_model(tmp_path, booster)), tmp_path / "out", tmp_path / "rows.csv", Console(1), FEW
    )

    assert abs(verdict.base_margin - margins(booster, external_rows(40, 5)).mean()) < 1e-9


def test_only_the_features_of_a_baseline_show_how_its_numbers_are_written(tmp_path: Path) -> None:
    """Otherwise the branch 47.11 would show that the amount 1.234 has decimals, or contradict the German amounts."""
    lines = [f"47.1{index};{40 + index};1.{200 + index},5;3;7" for index in range(9)]
    (tmp_path / "rows.csv").write_text("\n".join(["branch;" + ";".join(NAMES), *lines, ""]))
    booster = external_model()
    rows = np.array([[40 + index, 1200.5 + index, 3, 7] for index in range(9)])

    verdict = export_model(Path(save_model(tmp_path, booster)), tmp_path / "to", tmp_path / "rows.csv", Console(1), FEW)

    assert abs(verdict.base_margin - margins(booster, rows).mean()) < 1e-9
    (tmp_path / "rows.csv").write_text((tmp_path / "rows.csv").read_text().replace(",5", ""))
    said = export_error(tmp_path, save_model(tmp_path, booster), f"{tmp_path}/rows.csv")
    assert "column 'amount': '1.200' has either three decimals or a separator of thousands" in said


def test_the_graphs_name_their_columns_and_sigmoid_in_their_metadata(tmp_path: Path) -> None:
    booster, rows = external_model(sigmoid=0.7), external_rows(50, 9)

    for to in (tmp_path / "one", tmp_path / "two"):
        export_model(Path(save_model(tmp_path, booster)), to, None, Console(1), FEW)

    for name in ("score.onnx", "explain.onnx"):
        said = {prop.key: prop.value for prop in onnx.load(tmp_path / "one" / name).metadata_props}
        assert json.loads(said["columns"]) == NAMES
        found = 1 / (1 + np.exp(-float(said["sigmoid"]) * margins(booster, rows)))
        assert np.abs(found - booster.predict(rows)).max() < 1e-12
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("name", SUPPORTED)
def test_margins_of_other_objectives_and_of_averaged_trees_equal_lightgbms_to_the_bit(
    tmp_path: Path, name: str
) -> None:
    booster, rows = external_model(**SUPPORTED[name]), external_rows(300, 9)
    pd.DataFrame(external_rows(60, 5), columns=NAMES).to_parquet(tmp_path / "rows.parquet")

    for kind, baseline in (("path_dependent", None), ("interventional", tmp_path / "rows.parquet")):
        export_model(Path(save_model(tmp_path, booster)), tmp_path / kind, baseline, Console(1), FEW)

        answers_as(booster, tmp_path / kind, kind)
    factor = {prop.key: prop.value for prop in onnx.load(tmp_path / "interventional" / "score.onnx").metadata_props}
    probabilities = 1 / (1 + np.exp(-float(factor["sigmoid"]) * margins(booster, rows)))
    assert np.abs(probabilities - booster.predict(rows)).max() < 1e-12


def test_columns_with_blanks_match_the_names_that_lightgbm_writes(tmp_path: Path) -> None:
    names = ["age", "limit bal", "sector code", "delay"]
    booster = external_model(names)
    assert booster.feature_name()[1] == "limit_bal"
    pd.DataFrame(external_rows(40, 5), columns=names).to_csv(tmp_path / "rows.txt", index=False)

    verdict = export_model(
        Path(save_model(tmp_path, booster)), tmp_path / "out", tmp_path / "rows.txt", Console(1), FEW
    )

    assert abs(verdict.base_margin - margins(booster, external_rows(40, 5)).mean()) < 1e-9
    table = pd.DataFrame(external_rows(40, 5), columns=names).assign(limit_bal=1.0)
    table.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "again").mkdir()
    assert "'limit_bal' is duplicate" in export_error(
        tmp_path / "again", save_model(tmp_path, booster), f"{tmp_path}/rows.parquet"
    )


def test_a_pickled_model_is_rejected_with_the_way_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "theirs.pkl").write_bytes(pickle.dumps(external_model()))

    assert "model.booster_.save_model(PATH)" in export_error(tmp_path, f"{tmp_path}/theirs.pkl")


FOREIGN_FILES = {
    "CatBoost": b"CBM1\x10\x00\x00\x00",
    "CatBoost model": b'{"model_info": {}, "oblivious_trees": []}',
    "XGBoost": b'{"learner":{"attributes":{},"gradient_booster":{}},"version":[3,0,0]}',
    "XGBoost model": b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{",
    "binf": b"binf\x00\x00\x00\x3f",
    "scikit-learn": pickle.dumps(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])),
    "pickle of a LightGBM model": pickle.dumps(external_model()),
    "ONNX": onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])).SerializeToString(),
    "JSON text of a LightGBM model": json.dumps(external_model().dump_model()).encode(),
    "compressed": zlib.compress(b"a model"),
    "pickles are not opened": pickle.dumps({"weights": [1.0]}),
}


@pytest.mark.parametrize("named", FOREIGN_FILES)
def test_a_file_of_another_library_is_named_in_the_rejection(tmp_path: Path, named: str) -> None:
    (tmp_path / "theirs.model").write_bytes(FOREIGN_FILES[named])

    said = export_error(tmp_path, f"{tmp_path}/theirs.model")

    assert ("XGBoost" if named == "binf" else named) in said
    assert "save_model" in said or "fit a LightGBM model on the same table" in said


def test_an_error_is_one_line_with_exit_status_1(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "training", "export", str(tmp_path / "nothing.txt"), "--to", str(tmp_path / "out")]

    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


REFUSED: dict[str, dict[str, object]] = {
    "linear_tree": {"linear_tree": True},
    "regression": {"objective": "regression"},
    "multiclass": {"objective": "multiclass", "num_class": 2},
    "cross_entropy_lambda": {"objective": "cross_entropy_lambda"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_model_is_rejected_by_name_with_the_way_out_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    said = export_error(tmp_path, save_model(tmp_path, external_model(**REFUSED[name])))

    assert name in said
    assert "fit with" in said


def test_a_file_without_a_model_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "external.txt").write_text("tree\nversion=v4\n")

    assert "cannot be read as a LightGBM model" in export_error(tmp_path, f"{tmp_path}/theirs.txt")


def test_an_invalid_baseline_is_rejected_with_all_invalid_columns_and_the_present_ones(tmp_path: Path) -> None:
    table = pd.DataFrame(external_rows(10, 5), columns=NAMES).assign(sector="retail").rename(columns={"age": "years"})
    table.to_parquet(tmp_path / "rows.parquet")

    said = export_error(tmp_path, save_model(tmp_path, external_model()), f"{tmp_path}/rows.parquet")

    assert "'age' is missing" in said
    assert "'sector' must be numeric" in said
    assert "columns of the file: years, amount, sector, delay; correct the file" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,amount,sector,delay\n1,2,3,4,\n5,6,7,8,\n", "line 2 has 5 values, but the header has 4 columns"),
        ("age,amount,sector,delay\n1,2,3,4\n5,6,7\n", "line 3 has 3 values, but the header has 4 columns"),
        ("age,amount,sector,delay,age\n1,2,3,4,5\n", "duplicate columns in the header: 'age'"),
    ],
    ids=["too long", "too short", "twice"],
)
def test_a_csv_whose_lines_do_not_match_its_header_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    """If a line has too many values, pandas uses the first column as an index, which shifts all other columns."""
    (tmp_path / "rows.csv").write_text(text)

    assert message in export_error(tmp_path, save_model(tmp_path, external_model()), f"{tmp_path}/rows.csv")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_truncated_model_is_rejected_before_lightgbm_terminates_the_process(tmp_path: Path, share: float) -> None:
    path = Path(save_model(tmp_path, external_model()))
    trees = path.read_text().partition("end of trees")[0]
    path.write_text(trees[: int(len(trees) * share)])

    assert "the line 'end of trees' is missing" in export_error(tmp_path, str(path))


def test_the_text_of_a_model_with_other_line_ends_is_stored_as_it_was_proved(tmp_path: Path) -> None:
    """LightGBM terminates the process if it reads a model file with CRLF."""
    booster = external_model()
    path = Path(save_model(tmp_path, booster))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    export_model(path, tmp_path / "out", None, Console(1), FEW)

    answers_as(booster, tmp_path / "out", "path_dependent")
    assert b"\r" not in (tmp_path / "out" / "model.txt").read_bytes()


def test_a_model_without_the_names_of_its_levels_is_exported_with_a_recorded_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, 800)
    levels = pd.Categorical.from_codes(codes, categories=["bar", "canteen", "hotel", "school"])
    frame = pd.DataFrame({"amount": random.normal(size=800), "sector": levels})
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5, "cat_smooth": 1}
    path = Path(save_model(tmp_path, lightgbm.train(parameters, lightgbm.Dataset(frame, codes % 2 == 0), 5)))
    export_model(path, tmp_path / "named", None, Console(1), random_rows=200)
    lines = [
        "pandas_categorical:null" if line.startswith("pandas_categorical:") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    assert "warning" not in capsys.readouterr().out

    export_model(path, tmp_path / "lost", None, Console(1), random_rows=200)

    assert "warning: the model has category features (sector) but not the names" in " ".join(
        capsys.readouterr().out.split()
    )
    verdicts = {name: json.loads((tmp_path / name / "gate.json").read_text()) for name in ("named", "lost")}
    assert "rows must hold the codes" in verdicts["lost"]["remarks"][0]
    assert "remarks" not in verdicts["named"]
    metadata = {prop.key: prop.value for prop in onnx.load(tmp_path / "lost" / "score.onnx").metadata_props}
    assert json.loads(metadata["code_columns"]) == ["sector"]


def test_trailing_content_after_a_model_is_rejected(tmp_path: Path) -> None:
    path = Path(save_model(tmp_path, external_model()))
    path.write_text(path.read_text() + "trailing junk\nxx")

    assert "cannot be read as a LightGBM model" in export_error(tmp_path, str(path))


@pytest.mark.parametrize("name", ["threshold", "Tree", "threshold=", "is_linear=1"])
def test_a_feature_may_have_the_name_of_a_keyword_of_the_format(tmp_path: Path, name: str) -> None:
    rows = external_rows(400, 1)
    data = lightgbm.Dataset(rows, rows[:, 0] > np.median(rows[:, 0]), feature_name=[name, *NAMES[1:]])
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 5}, data, 3)

    verdict = export_model(Path(save_model(tmp_path, booster)), tmp_path / "out", None, Console(1), random_rows=200)

    assert sum(kind.rows for kind in verdict.kinds) > 2000


def test_linear_trees_with_constant_leaves_are_rejected(tmp_path: Path) -> None:
    booster = external_model(linear_tree=True, min_data_in_leaf=5000)

    assert "linear_tree" in export_error(tmp_path, save_model(tmp_path, booster))


def test_category_values_of_a_frame_are_not_read_as_codes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, 800)
    levels = np.array([10, 20, 30, 40])
    frame = pd.DataFrame({"amount": random.normal(size=800), "sector": pd.Categorical(levels[codes])})
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5, "cat_smooth": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(frame, codes % 2 == 0), 5)
    model = save_model(tmp_path, booster)
    pd.DataFrame({"amount": frame["amount"], "sector": levels[codes]}).to_parquet(tmp_path / "values.parquet")
    pd.DataFrame({"amount": frame["amount"], "sector": codes}).to_parquet(tmp_path / "codes.parquet")

    said = export_error(tmp_path, model, f"{tmp_path}/values.parquet")
    verdict = export_model(Path(model), tmp_path / "out", tmp_path / "codes.parquet", Console(1), random_rows=200)

    assert "column 'sector' must contain codes: 0 to 3 stand for 10, 20, 30, 40, in this order" in said
    assert verdict.base_margin == pytest.approx(float(np.mean(booster.predict(frame, raw_score=True))), abs=1e-12)


def test_a_folder_that_cannot_be_created_is_rejected_before_the_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    model = Path(save_model(tmp_path, external_model()))

    for to, message in ((tmp_path / "file" / "out", "cannot be created"), (tmp_path / "nowhere", "already exists")):
        with pytest.raises(TrainingError, match=message):
            export_model(model, to, None, Console(1))


def test_a_folder_that_appears_during_the_export_is_reported_and_not_changed(tmp_path: Path) -> None:
    class Hasty(Console):
        def info(self, line: str) -> None:
            (tmp_path / "out").mkdir(exist_ok=True)
            super().info(line)

    with pytest.raises(TrainingError, match="was created by another process"):
        export_model(Path(save_model(tmp_path, external_model())), tmp_path / "out", None, Hasty(1), random_rows=50)

    assert not list((tmp_path / "out").iterdir())


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="already exists"):
        export_model(Path(save_model(tmp_path, external_model())), tmp_path, None, Console(1))
