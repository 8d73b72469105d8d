"""Exports a LightGBM model that was fitted elsewhere to ONNX files that are proved equal to the model."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from models.atomic_files import make_folder, write_folder
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
from training.errors import DataInvalid, shorten_list
from training.export.explain import explain_onnx
from training.export.score import score_onnx
from training.export.trees import Ensemble, read_ensemble
from training.model_file import read_model_file
from training.sources.loaded_table import RECORD, load_table
from training.sources.reader.casts import number_cast
from training.sources.reader.unreadable import find_unreadable
from training.sources.source_tables import open_source
from training.spec import ReadingSpec

_COLUMNS_SHOWN = 20
_PROBLEMS_SHOWN = 8
_LEVELS_SHOWN = 5


def export_model(
    model: Path, to: Path, baseline: Path | None, console: Console, random_rows: int = RANDOM_ROW_COUNT
) -> EquivalenceReport:
    """Write score.onnx, explain.onnx, gate.json and model.txt to a new folder, either all of them or none.

    The metadata of both graphs have two keys. `columns` is a JSON list of the columns of the input `rows`. `sigmoid` is
    the factor by which the margin is multiplied before the logistic function converts it to a probability. If the model
    has category features but not the names of their levels, the key `code_columns` lists these features, and gate.json
    has a remark about them.

    Args:
        model: Path of the text file that `Booster.save_model` wrote.
        to: Path of the new folder.
        baseline: Path of the rows that interventional explanations compare a row with: a Parquet or CSV file with a numeric
            column for each feature. If None, explanations are path-dependent: they use the covers of the splits.
        console: Shows the progress.
        random_rows: Number of random rows in the equivalence check, in addition to the systematic rows.

    Returns:
        The report of the equivalence check.

    Raises:
        ModelRejected: The model is of an unsupported kind, its explanation is too large, or a file differs from the
            model (ExportMismatch, with a counterexample).
        DataInvalid: The folder already exists or cannot be created, or the columns of the baseline do not fit the
            model.
    """
    _check_target(to)
    file = read_model_file(model)
    text, booster = file.text, file.booster
    population = None if baseline is None else _read_baseline(baseline, booster)
    ensemble = read_ensemble(booster)
    console.info(f"{model.name}: {len(ensemble.trees)} trees, {ensemble.feature_count} features")
    code_columns = _nameless_categories(booster)
    score, explain = (
        _add_metadata(graph, booster, ensemble, code_columns)
        for graph in (score_onnx(ensemble), explain_onnx(ensemble, population))
    )
    console.info("check that the exported files equal the model")
    exported = ExportedModel(booster, score, explain, population, reference_base_margin(booster, population))
    report = check_equivalence(exported, population, random_rows, console.info)
    gate = _gate_bytes(report, code_columns)
    for remark in _remarks(code_columns):
        console.info(f"warning: {remark}")
    files = {"score.onnx": score, "explain.onnx": explain, "gate.json": gate, "model.txt": text.encode()}
    if not write_folder(to, files):
        raise DataInvalid(
            f"{to}: was created by another process during the export; specify a different folder with --to"
        )
    return report


def _check_target(to: Path) -> None:
    """Raise DataInvalid if the folder cannot be created. The check runs first, because the export takes long."""
    if to.exists() or to.is_symlink():
        raise DataInvalid(f"{to}: already exists; specify a new folder with --to")
    try:
        make_folder(to.parent)
    except OSError as error:
        raise DataInvalid(f"{to}: cannot be created: {error.strerror}; specify a different folder with --to") from error
    if not os.access(to.parent, os.W_OK):
        raise DataInvalid(f"{to}: cannot be created: {to.parent} is not writable; specify a different folder with --to")


def _nameless_categories(booster: lightgbm.Booster) -> list[str]:
    """Return the category features of a model that does not record the names of their levels (pandas_categorical)."""
    infos = booster.dump_model()["feature_infos"]
    names = [name for name in booster.feature_name() if infos.get(name, {}).get("values")]
    return names if len(booster.pandas_categorical or []) < len(names) else []


def _remarks(code_columns: Sequence[str]) -> list[str]:
    """Return the remarks about an exported model for its users."""
    if not code_columns:
        return []
    remark = (
        f"the model has category features ({', '.join(code_columns)}) but not the names of their levels "
        "(pandas_categorical), so rows must hold the codes on which the model was fitted; keep the list of codes and names "
        "with the files"
    )
    return [remark]


def _gate_bytes(report: EquivalenceReport, code_columns: Sequence[str]) -> bytes:
    """Return gate.json, with the key `remarks` if there are remarks."""
    document = json.loads(document_bytes(gate_document(report)))
    if remarks := _remarks(code_columns):
        document["remarks"] = remarks
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _add_metadata(graph: bytes, booster: lightgbm.Booster, ensemble: Ensemble, code_columns: Sequence[str]) -> bytes:
    """Return a graph whose metadata have the keys that `export_model` describes."""
    model = onnx.load_from_string(graph)
    metadata = {
        "columns": json.dumps(booster.feature_name()),
        "sigmoid": repr(ensemble.log_odds_factor).removesuffix(".0"),
    }
    if code_columns:
        metadata["code_columns"] = json.dumps(list(code_columns))
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString(deterministic=True))


def _read_baseline(path: Path, booster: lightgbm.Booster) -> NDArray[np.float64]:
    """Return the rows of a file as features of the model: shape (n, n_features), NaN where a cell is empty.

    LightGBM replaces spaces in the names of features with underscores, so a column of the file may have the name with
    spaces or the name with underscores.

    Raises:
        DataInvalid: A column is missing, duplicate or not numeric, or contains category values instead of codes.
    """
    names = booster.feature_name()
    with load_table(path, ReadingSpec(), _number_columns(path, names)) as loaded:
        columns = [column.name for column in loaded.raw.columns]
        present = [column.replace(" ", "_") for column in columns]
        problems = [f"column {name!r} is missing" for name in names if name not in present]
        problems += [f"column {name!r} is duplicate" for name in names if present.count(name) > 1]
        casts = [
            number_cast(loaded.raw, columns[present.index(name)], f"baseline.{name}")
            for name in names
            if present.count(name) == 1
        ]
        problems += [
            f"column {one.cast.column.name!r} must be numeric, got {one.count:,} other values, first {one.example!r} in "
            f"{one.place} (encode categories as the codes of the model)"
            for one in find_unreadable(loaded.connection, loaded.raw, casts, RECORD)
        ]
        if problems:
            shown = ", ".join(shorten_list(present, _COLUMNS_SHOWN, ""))
            raise DataInvalid(
                "\n".join(
                    [
                        f"{path.name}:",
                        *shorten_list(problems, _PROBLEMS_SHOWN, ""),
                        f"columns of the file: {shown}; correct the file, or specify a different one with --baseline",
                    ]
                )
            )
        select = ", ".join(cast.value for cast in casts)
        cells = loaded.connection.execute(f"SELECT {select} FROM cells ORDER BY {RECORD}")  # noqa: S608 - quoted
        table = cells.df().set_axis(names, axis="columns").astype(np.float64)
    if problems := [*_category_code_problems(table, booster)]:
        raise DataInvalid(f"{path}: " + "; ".join([*problems, "write the codes of the model"]))
    return np.ascontiguousarray(table.to_numpy(dtype=np.float64))


def _number_columns(path: Path, names: Sequence[str]) -> set[str]:
    """Return the columns of a file that have the features of the model; other columns do not show how numbers are written."""
    with tempfile.TemporaryDirectory(prefix="grounds-") as folder:
        table = open_source(path, ReadingSpec(decimal="."), Path(), Path(folder), ())  # only the names are used
        return {column.name for column in table.columns if column.name.replace(" ", "_") in names}


def _category_code_problems(table: pd.DataFrame, booster: lightgbm.Booster) -> Iterator[str]:
    """Yield a problem for each column that contains category values.

    The splits of a model that was fitted on a pandas frame contain the codes of the categories instead of their values.
    """
    infos = booster.dump_model()["feature_infos"]
    names = [name for name in booster.feature_name() if infos.get(name, {}).get("values")]
    lists = booster.pandas_categorical or []
    if len(names) != len(lists):
        # At least one category feature is in no tree. The model does not record which one, so it is unknown which list
        # belongs to which feature.
        return
    for name, levels in zip(names, lists, strict=True):
        values = table[name].dropna()
        if not values.isin(range(len(levels))).all():
            listed = ", ".join(map(str, levels[:_LEVELS_SHOWN])) + (", ..." if len(levels) > _LEVELS_SHOWN else "")
            yield f"column {name!r} must contain codes: 0 to {len(levels) - 1} stand for {listed}, in this order"


def equivalence_table(report: EquivalenceReport) -> Table:
    """Return a terminal table with the number of compared rows and the largest differences for each kind of row."""
    table = Table(
        title=f"All margins equal LightGBM's to the bit; contributions: {report.method}", title_justify="left"
    )
    table.add_column("kind of row")
    for column in ("rows", "contributions within", "sums within"):
        table.add_column(column, justify="right")
    for kind in report.kinds:
        table.add_row(kind.kind, f"{kind.rows:,}", f"{kind.contribution_distance:.1e}", f"{kind.residual:.1e}")
    return table
