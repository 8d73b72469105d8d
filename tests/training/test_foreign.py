"""`python -m training export`: a LightGBM text file that is not from our training gets files and a verdict, or a reason."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest

from models.scoring import Scorer
from tests.conftest import ROOT, run
from tests.oracles import Rows, margins
from training.console import Console
from training.errors import TrainingError
from training.foreign import export_model

NAMES = ["age", "amount", "sector", "delay"]
SECTORS = 12
FEW = 2_000  # random rows


def their_rows(count: int, seed: int) -> Rows:
    """Make rows of another house: two numbers, one category as codes, one with gaps."""
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


def their_model(names: list[str] = NAMES, **parameters: object) -> lightgbm.Booster:
    """Fit as they would."""
    rows = their_rows(800, 1)
    label = (rows[:, 1] > 3000) ^ (rows[:, 2] % 3 == 0) ^ (np.random.default_rng(2).random(800) < 0.1)
    settings = {"objective": "binary", "num_leaves": 12, "verbose": -1, "seed": 3, **parameters}
    data = lightgbm.Dataset(rows, label.astype(float), feature_name=names, categorical_feature=[2])
    return lightgbm.train(settings, data, 15)


def saved(folder: Path, booster: lightgbm.Booster) -> str:
    """Save a model as its owner does."""
    booster.save_model(folder / "theirs.txt")
    return str(folder / "theirs.txt")


def refusal(folder: Path, model: str, baseline: str | None = None) -> str:
    """Give what is said when a model is refused; nothing is written."""
    with pytest.raises(TrainingError) as refused:
        export_model(Path(model), folder / "out", Path(baseline) if baseline else None, Console(1))
    assert not (folder / "out").exists()
    return str(refused.value)


def test_one_command_gives_files_that_answer_as_the_model_does_and_a_verdict(tmp_path: Path) -> None:
    booster, to = their_model(), tmp_path / "out"
    pd.DataFrame(their_rows(60, 5)[:, ::-1], columns=NAMES[::-1]).to_parquet(tmp_path / "rows.parquet")
    words = ["--to", str(to), "--baseline", str(tmp_path / "rows.parquet")]

    printed = run("training", "export", saved(tmp_path, booster), *words)

    assert "interventional" in printed
    assert all(f"rows: {kind}" in printed for kind in ("data", "threshold", "odd value", "missing", "random"))
    assert f"{100_000:,}" in printed
    answers_as(booster, to, "interventional")


def answers_as(booster: lightgbm.Booster, to: Path, method: str) -> None:
    """Check the files against the model on rows of their own."""
    rows = their_rows(300, 9)
    found, parts = Scorer((to / "score.onnx").read_bytes(), (to / "explain.onnx").read_bytes()).explain(rows)
    verdict = json.loads((to / "gate.json").read_text())
    assert np.array_equal(found, margins(booster, rows))
    assert np.abs(verdict["base_margin"] + parts.sum(axis=1) - found).max() < 1e-9
    assert verdict["method"] == method
    assert sorted(path.name for path in to.iterdir()) == ["explain.onnx", "gate.json", "model.txt", "score.onnx"]
    assert lightgbm.Booster(model_file=to / "model.txt").model_to_string() == booster.model_to_string()


def test_without_rows_to_compare_with_the_covers_of_the_splits_are(tmp_path: Path) -> None:
    booster = their_model()

    export_model(Path(saved(tmp_path, booster)), tmp_path / "out", None, Console(1), FEW)

    answers_as(booster, tmp_path / "out", "path_dependent")


def test_a_csv_with_empty_cells_is_a_baseline_too(tmp_path: Path) -> None:
    pd.DataFrame(their_rows(40, 5), columns=NAMES).to_csv(tmp_path / "rows.csv", index=False)
    booster = their_model()

    verdict = export_model(Path(saved(tmp_path, booster)), tmp_path / "out", tmp_path / "rows.csv", Console(1), FEW)

    assert abs(verdict.base_margin - margins(booster, their_rows(40, 5)).mean()) < 1e-9


def test_the_files_name_their_columns_and_what_makes_a_margin_a_probability(tmp_path: Path) -> None:
    booster, rows = their_model(sigmoid=0.7), their_rows(50, 9)

    for to in (tmp_path / "one", tmp_path / "two"):
        export_model(Path(saved(tmp_path, booster)), to, None, Console(1), FEW)

    for name in ("score.onnx", "explain.onnx"):
        said = {prop.key: prop.value for prop in onnx.load(tmp_path / "one" / name).metadata_props}
        assert json.loads(said["columns"]) == NAMES
        found = 1 / (1 + np.exp(-float(said["sigmoid"]) * margins(booster, rows)))
        assert np.abs(found - booster.predict(rows)).max() < 1e-12
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_names_with_blanks_are_found_under_the_names_that_lightgbm_gives_them(tmp_path: Path) -> None:
    names = ["age", "limit bal", "sector code", "delay"]
    booster = their_model(names)
    assert booster.feature_name()[1] == "limit_bal"
    pd.DataFrame(their_rows(40, 5), columns=names).to_csv(tmp_path / "rows.txt", index=False)

    verdict = export_model(Path(saved(tmp_path, booster)), tmp_path / "out", tmp_path / "rows.txt", Console(1), FEW)

    assert abs(verdict.base_margin - margins(booster, their_rows(40, 5)).mean()) < 1e-9
    table = pd.DataFrame(their_rows(40, 5), columns=names).assign(limit_bal=1.0)
    table.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "again").mkdir()
    assert "'limit_bal' is there twice" in refusal(
        tmp_path / "again", saved(tmp_path, booster), f"{tmp_path}/rows.parquet"
    )


def test_a_pickled_model_is_refused_with_the_way_to_write_it(tmp_path: Path) -> None:
    (tmp_path / "theirs.pkl").write_bytes(pickle.dumps(their_model()))

    assert "model.booster_.save_model(PATH)" in refusal(tmp_path, f"{tmp_path}/theirs.pkl")


def test_a_refusal_is_a_sentence_and_a_status_of_1(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "training", "export", str(tmp_path / "nothing.txt"), "--to", str(tmp_path / "out")]

    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


REFUSED: dict[str, dict[str, object]] = {
    "linear_tree": {"linear_tree": True},
    "rf": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "regression": {"objective": "regression"},
    "multiclass": {"objective": "multiclass", "num_class": 2},
    "cross_entropy": {"objective": "cross_entropy"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_of_another_kind_is_refused_by_name_with_the_way_out_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    said = refusal(tmp_path, saved(tmp_path, their_model(**REFUSED[name])))

    assert name in said
    assert "fit with" in said


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("tree\nversion=v4\n")

    assert "cannot be read as LightGBM's text of a model" in refusal(tmp_path, f"{tmp_path}/theirs.txt")


def test_rows_that_do_not_fit_are_refused_with_every_column_at_once_and_what_is_there(tmp_path: Path) -> None:
    table = pd.DataFrame(their_rows(10, 5), columns=NAMES).assign(sector="retail").rename(columns={"age": "years"})
    table.to_parquet(tmp_path / "rows.parquet")

    said = refusal(tmp_path, saved(tmp_path, their_model()), f"{tmp_path}/rows.parquet")

    assert "'age' is not there" in said
    assert "'sector' holds" in said
    assert said.endswith("it has: years, amount, sector, delay")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is there already"):
        export_model(Path(saved(tmp_path, their_model())), tmp_path, None, Console(1))
