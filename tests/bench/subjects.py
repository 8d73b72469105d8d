"""The models that the benchmarks time, and the different ways to compute their scores and explanations."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import shap
import treelite

from models.bundle import read_bundle
from models.onnx_scorer import BoundRow, Scorer, open_session, row_batches
from tests.bench.timing import Way
from tests.conftest import ROOT
from tests.oracles import FloatArray
from training.export.explain import explain_onnx
from training.export.score import score_onnx
from training.export.trees import read_ensemble

BACKGROUND_ROWS = 100
DEPTH_MAX = 6  # a usual limit for credit models
YARDSTICK = "pred_contrib"
PAY_STATES = ["PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"]
BILLS = [f"BILL_AMT{month}" for month in range(1, 7)]
PAYMENTS = [f"PAY_AMT{month}" for month in range(1, 7)]


@dataclass(frozen=True)
class Subject:
    """A model to time, with its exported files, with real rows, and with the baseline rows of its explanation."""

    name: str
    booster: lightgbm.Booster
    score: bytes
    explain: bytes
    rows: FloatArray
    baseline: FloatArray


def released_subject(name: str, bundle_folder: Path, features: Path) -> Subject:
    """Read a released model from its bundle."""
    bundle = read_bundle(bundle_folder)
    table = pq.read_table(features).to_pandas()
    rows = np.ascontiguousarray(table[list(bundle.schema.names)].to_numpy(dtype=np.float64))
    baseline = np.array(bundle.baseline.rows, dtype=np.float64)
    booster = lightgbm.Booster(model_str=(bundle_folder / "model.txt").read_text(encoding="utf-8"))
    return Subject(name, booster, bundle.score, bundle.explain, rows, baseline)


def fitted_subject(leaves: int, trees: int, columns: int) -> Subject:
    """Fit a model of a given size on the first `columns` columns of `credit_columns`."""
    table = pd.read_parquet(next((ROOT / "training" / "data").glob("*.parquet")))
    rows = credit_columns(table, columns)
    parameters = {
        "objective": "binary",
        "num_leaves": leaves,
        "max_depth": DEPTH_MAX,
        "learning_rate": 0.05,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.7,
        "num_threads": 2,
        "seed": 0,
        "verbose": -1,
    }
    label = table["default_payment_next_month"].to_numpy()
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, label), trees)
    ensemble, baseline = read_ensemble(booster), rows[::30]
    name = f"{leaves} leaves, {trees} trees, {columns} features"
    return Subject(name, booster, score_onnx(ensemble), explain_onnx(ensemble, baseline), rows, baseline)


def credit_columns(table: pd.DataFrame, columns: int) -> FloatArray:
    """Return `columns` columns of the credit data: limit, payment states, bills, payments, and then ratios of pairs of these."""
    own = [table[name].to_numpy(dtype=np.float64) for name in ["LIMIT_BAL", *PAY_STATES, *BILLS, *PAYMENTS]]
    pairs = [(a, b) for a in range(7, 19) for b in range(7, 19) if a != b]
    ratios = [own[a] / (np.abs(own[b]) + 1.0) for a, b in pairs]
    return np.ascontiguousarray(np.column_stack((own + ratios)[:columns]))


def scoring_ways(subject: Subject, *, slow: bool = True) -> dict[str, Way]:
    """Return all ways to score or explain rows, by name; shap is included only if `slow` is true."""
    scorer = Scorer(subject.score, subject.explain)
    booster = subject.booster
    plain = open_session(subject.score, ("margin",))
    ways: dict[str, Way] = {
        "score": lambda rows: scorer._rows.score.run_to_list(rows) if len(rows) == 1 else scorer.margins(rows),
        "score + explanation": lambda rows: scorer.explain_one(rows) if len(rows) == 1 else scorer.explain(rows),
        "explanation alone": contributions_alone(subject),
        YARDSTICK: lambda rows: booster.predict(rows, pred_contrib=True, num_threads=1),
        "score by Booster.predict": lambda rows: booster.predict(rows, raw_score=True, num_threads=1),
        "score by a plain session.run": lambda rows: plain.run(None, {"rows": rows}),
        "score by treelite": treelite_score(booster),
    }
    if slow:
        background = shap.maskers.Independent(subject.baseline[:BACKGROUND_ROWS], max_samples=BACKGROUND_ROWS)
        interventional = shap.TreeExplainer(booster, background, feature_perturbation="interventional")
        by_path = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
        ways["shap, path-dependent"] = lambda rows: by_path.shap_values(rows, _check_additivity=False)
        ways["shap, interventional, 100 rows"] = lambda rows: interventional.shap_values(rows, _check_additivity=False)
    return ways


def contributions_alone(subject: Subject) -> Way:
    """Return a function that runs explain.onnx without the nodes that compute its margin."""
    model = onnx.load_from_string(subject.explain)
    nodes = [node for node in model.graph.node if "margin" not in node.output]
    outputs = [output for output in model.graph.output if output.name == "contributions"]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.output.extend(outputs)
    graph = open_session(model.SerializeToString(), ("contributions",), reuse_memory_plan=True)
    one = BoundRow(graph, ("contributions",))

    def run(rows: FloatArray) -> object:
        if len(rows) == 1:
            return one.run_to_list(rows)
        return [graph.run(None, {"rows": batch}) for batch in row_batches(rows)]

    return run


def treelite_score(booster: lightgbm.Booster) -> Way:
    """Return a function that scores with treelite's general-purpose inference on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.txt"
        booster.save_model(path)
        model = treelite.frontend.load_lightgbm_model(path)
    return lambda rows: treelite.gtil.predict(model, rows, nthread=1, pred_margin=True)
