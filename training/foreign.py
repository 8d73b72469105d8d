"""A LightGBM model from elsewhere: its text file becomes ONNX files that are proved equal, or is refused."""

from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from rich.table import Table

from models.bundle import json_bytes
from models.durable import write_folder
from training.console import Console
from training.errors import DataRefused, ModelRefused
from training.export.explain import explain_onnx
from training.export.score import score_onnx
from training.export.trees import read_ensemble
from training.gate.examine import Subject, Verdict, examine, gate_document
from training.gate.reference import margins, path_dependent
from training.gate.rows import RANDOM_ROWS


def export_model(
    model: Path, to: Path, baseline: Path | None, console: Console, random_rows: int = RANDOM_ROWS
) -> Verdict:
    """Write score.onnx, explain.onnx and gate.json into a new folder, all three or none.

    Args:
        model: The text that `Booster.save_model` writes.
        to: A folder that is not there yet.
        baseline: Rows to compare with (interventional), as Parquet or CSV with a numeric column per feature;
            None explains by the covers of the splits (path-dependent).
        console: Says what is going on.
        random_rows: How many random rows the gate examines, beside the others.

    Raises:
        ModelRefused: The model is of a kind that is not exported, its explanation too large, or a file
            differs from it (NotEqual, with a witness).
        DataRefused: The folder is there already, or the rows do not fit the model.
    """
    if to.exists():
        raise DataRefused(f"{to}: is there already; name a new folder with --to")
    booster = read_model(model)
    population = None if baseline is None else read_rows(baseline, booster)
    ensemble = read_ensemble(booster)
    console.say(f"{model.name}: {len(ensemble.trees)} trees, {ensemble.feature_count} features")
    score, explain = score_onnx(ensemble), explain_onnx(ensemble, population)
    console.say("prove that the files say what LightGBM and the definition say, row by row")
    subject = Subject(booster, score, explain, population, base_margin(booster, population))
    verdict = examine(subject, population, random_rows)
    files = {"score.onnx": score, "explain.onnx": explain, "gate.json": json_bytes(gate_document(verdict))}
    write_folder(to, files)
    return verdict


def read_model(path: Path) -> lightgbm.Booster:
    """Read a model's text."""
    try:
        return lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
        raise ModelRefused(f"{path}: cannot be read as LightGBM's text of a model: {error}") from error


def read_rows(path: Path, booster: lightgbm.Booster) -> NDArray[np.float64]:
    """Read rows with the columns of the model, in its order; empty cells are missing."""
    names = booster.feature_name()
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataRefused(f"{path}: cannot be read as Parquet or CSV: {error}") from error
    problems = [f"column {name!r} is not there" for name in names if name not in table.columns]
    problems += [
        f"column {name!r} holds {table[name].dtype}, not numbers; give categories as the codes that the model knows"
        for name in names
        if name in table.columns and not pd.api.types.is_numeric_dtype(table[name])
    ]
    if table.empty:
        problems.append("there are no rows")
    if problems:
        raise DataRefused(f"{path}: " + "; ".join(problems))
    return np.ascontiguousarray(table[names].to_numpy(dtype=np.float64))


def base_margin(booster: lightgbm.Booster, population: NDArray[np.float64] | None) -> float:
    """Give what contributions are counted from."""
    if population is None:
        return path_dependent(booster, np.zeros((1, booster.num_feature())))[1]
    return float(np.mean(margins(booster, population)))


def verdict_table(verdict: Verdict) -> Table:
    """Show what was examined, and how far the files are off."""
    table = Table(
        title=f"Every margin equals LightGBM's to the bit; contributions: {verdict.method}", title_justify="left"
    )
    table.add_column("kind of row")
    for column in ("rows", "contributions within", "sums within"):
        table.add_column(column, justify="right")
    for kind in verdict.kinds:
        table.add_row(kind.kind, f"{kind.rows:,}", f"{kind.contribution_distance:.1e}", f"{kind.residual:.1e}")
    return table
