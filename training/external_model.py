"""A LightGBM model from elsewhere: its text file becomes ONNX files that are proved equal, or is refused."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from models.atomic_files import write_folder
from models.bundle import document_bytes
from training.console import Console
from training.equivalence.check import (
    EquivalenceReport,
    ExportedModel,
    check_equivalence,
    gate_document,
    reference_base_margin,
)
from training.equivalence.probes import RANDOM_ROW_COUNT
from training.errors import DataInvalid, ModelRejected
from training.export.explain import explain_onnx
from training.export.score import score_onnx
from training.export.trees import read_ensemble
from training.sources.table import read_table

_LEVELS_SHOWN = 5


def export_model(
    model: Path, to: Path, baseline: Path | None, console: Console, random_rows: int = RANDOM_ROW_COUNT
) -> EquivalenceReport:
    """Write score.onnx, explain.onnx, gate.json and the model's text into a new folder, all of them or none.

    Both graphs say in their metadata what the columns of `rows` are (`columns`, JSON) and what makes a margin a
    probability (`sigmoid`).

    Args:
        model: The text that `Booster.save_model` writes.
        to: A folder that is not there yet.
        baseline: Rows to compare with (interventional), as Parquet or CSV with a numeric column per feature;
            None explains by the covers of the splits (path-dependent).
        console: Says what is going on.
        random_rows: How many random rows the gate examines, beside the others.

    Raises:
        ModelRejected: The model is of a kind that is not exported, its explanation too large, or a file
            differs from it (NotEqual, with a witness).
        DataInvalid: The folder is there already, or the rows do not fit the model.
    """
    _check_target(to)
    booster = _read_model(model)
    population = None if baseline is None else _read_baseline(baseline, booster)
    ensemble = read_ensemble(booster)
    console.info(f"{model.name}: {len(ensemble.trees)} trees, {ensemble.feature_count} features")
    score, explain = (
        _add_metadata(graph, booster) for graph in (score_onnx(ensemble), explain_onnx(ensemble, population))
    )
    console.info("prove that the files say what LightGBM and the definition say, row by row")
    subject = ExportedModel(booster, score, explain, population, reference_base_margin(booster, population))
    verdict = check_equivalence(subject, population, random_rows, console.info)
    gate = document_bytes(gate_document(verdict))
    files = {"score.onnx": score, "explain.onnx": explain, "gate.json": gate, "model.txt": model.read_bytes()}
    if not write_folder(to, files):
        raise DataInvalid(f"{to}: was made by something else meanwhile, and is left as it is; name another with --to")
    return verdict


def _check_target(to: Path) -> None:
    """Refuse a folder that is there already, or cannot be made, before anything is proved."""
    if to.exists() or to.is_symlink():
        raise DataInvalid(f"{to}: is there already; name a new folder with --to")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataInvalid(f"{to}: cannot be made: {error.strerror}; name another folder with --to") from error
    if not os.access(to.parent, os.W_OK):
        raise DataInvalid(f"{to}: cannot be made: {to.parent} may not be written to; name another folder with --to")


def _read_model(path: Path) -> lightgbm.Booster:
    """Read a model's text."""
    try:
        booster = lightgbm.Booster(model_str=_read_complete_text(path))
        booster.dump_model()  # numbers that are none are found here
    except (OSError, ValueError, lightgbm.basic.LightGBMError) as error:
        raise ModelRejected(
            f"{path}: cannot be read as LightGBM's text of a model: {error}; write it with booster.save_model(PATH) "
            "(scikit-learn: model.booster_.save_model(PATH))"
        ) from error
    return booster


def _read_complete_text(path: Path) -> str:
    """Give a model's text: LightGBM ends the process where it ends within a tree."""
    text = path.read_text(encoding="utf-8")
    if "end of trees" not in text.splitlines():
        raise ValueError("it has no line 'end of trees': it is cut off, or something else")
    return text


def _add_metadata(graph: bytes, booster: lightgbm.Booster) -> bytes:
    """Write into a graph what its columns are, and the sigmoid of the probability."""
    model = onnx.load_from_string(graph)
    sigmoid = str(booster.dump_model()["objective"]).partition("sigmoid:")[2].split(" ")[0] or "1"
    for key, value in (("columns", json.dumps(booster.feature_name())), ("sigmoid", sigmoid)):
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString(deterministic=True))


def _read_baseline(path: Path, booster: lightgbm.Booster) -> NDArray[np.float64]:
    """Read rows with the columns of the model, in its order; empty cells are missing.

    LightGBM writes an underscore where a name has a blank; a column is found under either name.
    """
    table, names = read_table(path), booster.feature_name()
    there = [str(name).replace(" ", "_") for name in table.columns]
    table = table.set_axis(there, axis="columns")
    problems = [f"column {name!r} is not there" for name in names if name not in there]
    problems += [f"column {name!r} is there twice" for name in names if there.count(name) > 1]
    problems += [
        f"column {name!r} holds {table[name].dtype}, not numbers; give categories as the codes that the model knows"
        for name in names
        if there.count(name) == 1 and not pd.api.types.is_numeric_dtype(table[name])
    ]
    if problems:
        raise DataInvalid(f"{path}: " + "; ".join([*problems, f"it has: {', '.join(there)}"]))
    if problems := [*_category_code_problems(table, booster)]:
        raise DataInvalid(f"{path}: " + "; ".join(problems))
    return np.ascontiguousarray(table[names].to_numpy(dtype=np.float64))


def _category_code_problems(table: pd.DataFrame, booster: lightgbm.Booster) -> Iterator[str]:
    """Name the categories of a pandas frame that stand in the rows as they are: the model knows them by their places alone."""
    infos = booster.dump_model()["feature_infos"]
    names = [name for name in booster.feature_name() if infos.get(name, {}).get("values")]
    lists = booster.pandas_categorical or []
    if len(names) != len(lists):
        return  # some are used by no tree, and which is which is not said
    for name, levels in zip(names, lists, strict=True):
        values = table[name].dropna()
        if not values.isin(range(len(levels))).all():
            told = ", ".join(map(str, levels[:_LEVELS_SHOWN])) + (", ..." if len(levels) > _LEVELS_SHOWN else "")
            yield f"column {name!r} must hold codes: 0 to {len(levels) - 1} stand for {told}, in this order"


def equivalence_table(verdict: EquivalenceReport) -> Table:
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
