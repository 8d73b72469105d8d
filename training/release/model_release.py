"""Releases a model: fits, calibrates, exports, checks and measures it, and writes the bundle."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.atomic_files import make_folder, write_file
from models.bundle import document_bytes, write_bundle
from models.bundle_documents import (
    FORMAT_VERSION,
    BaselineDocument,
    Manifest,
    MetricsDocument,
    PopulationDocument,
    Scorecard,
)
from models.onnx_scorer import Scorer
from models.schema import Schema
from models.scorecard import log_odds_from_margin, pd_from_log_odds
from training.console import Console
from training.equivalence.check import ExportedModel, check_equivalence, check_scores, gate_document
from training.errors import ModelRejected
from training.evaluation.metrics import named_metrics
from training.evaluation.model_evaluation import ModelEvaluation, evaluate_model
from training.evaluation.release_gates import GateResult, evaluate_best_rival, evaluate_gates, require_passed
from training.export.explain import explain_onnx
from training.export.score import score_onnx
from training.export.trees import Ensemble, read_ensemble
from training.fitting.booster import fit_model, fixed_parameters
from training.fitting.calibration import fit_calibration
from training.fitting.search import SearchCandidate, search_candidates, search_steps, validation_remarks
from training.release.baseline import baseline_document, select_baseline
from training.release.golden_rows import golden_document
from training.release.leakage import check_leakage
from training.release.population import population_document
from training.release.reason_texts import check_reason_texts
from training.report.card import model_card
from training.report.page import report_page
from training.scoring.drivers import DriverTexts
from training.sources.derived_columns import feature_expressions
from training.sources.samples import Samples, label_of, weight_of
from training.sources.snapshots import row_definition
from training.spec import Spec, schema_document
from training.validation.monotonicity import violation_lines
from training.validation.scored_sample import CandidateModel

_AFTER_REJECTION = (
    "correct the data or the features, or change [[gates]] if a bound is not the one that the model needs"
)


@dataclass(frozen=True, slots=True)
class Release:
    """A released model.

    Attributes:
        folder: The folder of the bundle.
        evaluation: All results of the evaluation.
        gate_results: Results of the release gates of the spec, all of which passed.
    """

    folder: Path
    evaluation: ModelEvaluation
    gate_results: tuple[GateResult, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A fitted model that is not yet calibrated, exported and measured.

    Attributes:
        booster: The model.
        ensemble: Its trees.
        parameters: Its hyperparameters, for the report.
        search: The kinds of model that the search compared, the chosen one first; empty if the model was fitted elsewhere.
        remarks: Sentences on how the model was fitted.
        file_sha256: SHA-256 of the file of a model that was fitted elsewhere; None if this program fitted it.
    """

    booster: lightgbm.Booster
    ensemble: Ensemble
    parameters: Mapping[str, Any]
    search: tuple[SearchCandidate, ...] = ()
    remarks: tuple[str, ...] = ()
    file_sha256: str | None = None


def release_model(
    spec: Spec, spec_sha256: str, samples: Samples, bundles: Path, console: Console, rejected: Path | None = None
) -> Release:
    """Fit, calibrate, export, check and measure a model, and write its bundle. If a step fails, no bundle is written.

    Args:
        spec: The spec; `features` must list every feature of the model.
        spec_sha256: SHA-256 of the spec.
        samples: The rows.
        bundles: Folder of the bundle catalog to which the bundle is added.
        console: Shows the progress.
        rejected: Folder to which the report is written if a release gate fails; None to write no report in this case.

    Raises:
        SpecInvalid: A reason text is invalid.
        DataInvalid: A feature contains the outcome, or the parameter search has no rows to fit on.
        ModelRejected: An exported file differs from the model, or a release gate failed.
    """
    schema = checked_schema(spec, samples)
    signs = tuple(feature.sign for feature in schema.features)
    candidates = _search_candidates(spec, samples, signs, console)
    chosen = dict(candidates[0].parameters)
    console.info(f"fit, calibrate and export the model: {candidates[0].name}")
    parameters = fixed_parameters(signs, console.threads) | chosen
    booster = fit_model(parameters, samples, training_data(samples), weight_of(samples.part("FIT")))
    fitted = FittedModel(booster, read_ensemble(booster), chosen, candidates, validation_remarks(samples, spec))
    return release_fitted_model(spec, spec_sha256, samples, schema, fitted, bundles, console, rejected)


def checked_schema(spec: Spec, samples: Samples) -> Schema:
    """Return the schema of a model, after checking the data for leaks and the reason texts.

    Raises:
        SpecInvalid: A reason text is invalid.
        DataInvalid: A feature contains the outcome.
    """
    columns = {feature.name: feature.column for feature in spec.features if feature.column is not None}
    check_leakage(samples, spec.leak_reasons, columns)
    schema = Schema(schema_document(spec, samples.levels))
    check_reason_texts(schema)
    return schema


def release_fitted_model(
    spec: Spec,
    spec_sha256: str,
    samples: Samples,
    schema: Schema,
    fitted: FittedModel,
    bundles: Path,
    console: Console,
    rejected: Path | None = None,
) -> Release:
    """Calibrate, export, check and measure a model, and write its bundle; the arguments are those of `release_model`.

    Raises:
        ModelRejected: The model cannot be calibrated, an exported file differs from the model, or a release gate failed.
    """
    exported, candidate, baseline = _export_candidate(spec, samples, fitted, console)
    console.info("measure on the hold-out")
    card, ensemble = candidate.card, candidate.ensemble
    evaluation = evaluate_model(spec, samples, candidate, console.threads)
    metrics = named_metrics(evaluation)
    results = (
        *evaluate_gates(spec.gates, metrics, [rival.name for rival in spec.rivals]),
        *evaluate_best_rival(evaluation.rivals, spec.accept_behind),
    )
    report = report_page(spec, samples, evaluation, card, results, DriverTexts(schema, baseline.typical))
    documents = _report_documents(report, model_card(spec, samples, evaluation, results), metrics)
    _require_passed(results, violation_lines(evaluation.sweeps, samples.names), documents, rejected)
    golden = golden_document(ensemble, candidate.scorer, card, baseline, samples.features(samples.part("FIT")))
    files = {
        "score.onnx": exported.score,
        "explain.onnx": exported.explain,
        "schema.json": document_bytes(schema.document),
        "scorecard.json": document_bytes(card),
        "baseline.json": document_bytes(baseline),
        "golden.json": document_bytes(golden),
        "gate.json": document_bytes(gate_document(candidate.equivalence)),
        "model.txt": _model_text(fitted.booster),
        "population.json": document_bytes(_population(schema, samples, candidate)),
        **documents,
    }
    manifest = _manifest(spec, spec_sha256, samples, fitted.file_sha256)
    return Release(write_bundle(bundles, manifest, files), evaluation, results)


def _search_candidates(
    spec: Spec, samples: Samples, signs: tuple[int, ...], console: Console
) -> tuple[SearchCandidate, ...]:
    """Return the kinds of model that the search compared, the best one first, and show the progress."""
    for remark in validation_remarks(samples, spec):
        console.info(remark)
    with console.progress_bar("search", search_steps(spec)) as progress:
        return search_candidates(samples, spec, signs, console.threads, progress)


def _export_candidate(
    spec: Spec, samples: Samples, fitted: FittedModel, console: Console
) -> tuple[ExportedModel, CandidateModel, BaselineDocument]:
    """Calibrate and export a model, and check the exported files; also return the frozen baseline."""
    booster, ensemble = fitted.booster, fitted.ensemble
    card = calibrated_scorecard(spec, booster, samples, ensemble.log_odds_factor)
    baseline = freeze_baseline(spec, fitted, card, samples)
    population = None if baseline.method == "path_dependent" else _baseline_rows(baseline)
    score, explain = score_onnx(ensemble), explain_onnx(ensemble, population)
    # The server runs the exported files, so the checks and the evaluation use these files to score rows.
    console.info("check that the exported files equal the model")
    exported = ExportedModel(booster, score, explain, population, baseline.base_margin)
    equivalence = check_equivalence(exported, samples.features(samples.rows), report_progress=console.info)
    check_scores(exported, card, samples.features(samples.rows))
    candidate = CandidateModel(
        scorer=Scorer(score, explain),
        card=card,
        base_margin=baseline.base_margin,
        ensemble=ensemble,
        gain=gain_shares(booster),
        parameters=dict(fitted.parameters),
        equivalence=equivalence,
        search=fitted.search,
        remarks=fitted.remarks,
        fitted_elsewhere=fitted.file_sha256 is not None,
    )
    return exported, candidate, baseline


def _population(schema: Schema, samples: Samples, candidate: CandidateModel) -> PopulationDocument:
    """Return the customers that training used, as a bundle states them."""
    margins = candidate.scorer.margins(samples.features(samples.part("CALIBRATION")))
    return population_document(schema, samples, candidate.card.slope * margins + candidate.card.intercept)


def _report_documents(report: str, card: str, metrics: dict[str, float]) -> dict[str, bytes]:
    """Return the files of a bundle that describe the quality of the model."""
    measured = document_bytes(MetricsDocument(metrics=metrics))
    return {"metrics.json": measured, "card.md": card.encode(), "report.html": report.encode()}


def _require_passed(
    results: Sequence[GateResult], violations: Sequence[str], documents: Mapping[str, bytes], rejected: Path | None
) -> None:
    """Check that every release gate passed; otherwise write the report, so that a validator can see why.

    Args:
        results: The results of the release gates.
        violations: Lines about violated monotone constraints, which are added to the message.
        documents: The files of the report.
        rejected: Folder of the report; None to write none.

    Raises:
        ModelRejected: A gate failed; the message states where the report is.
    """
    try:
        require_passed(results)
    except ModelRejected as error:
        message = "\n".join([str(error), *violations, _AFTER_REJECTION])
        if rejected is None:
            raise ModelRejected(message) from error
        make_folder(rejected)
        for name, content in documents.items():
            write_file(rejected / name, content)
        raise ModelRejected(f"{message}\nread the report of the rejected model: {rejected / 'report.html'}") from error


def training_data(samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the features, shape (n, n_features), and the labels, shape (n,), of the fit part."""
    rows = samples.part("FIT")
    return samples.features(rows), label_of(rows)


def calibrated_scorecard(
    spec: Spec, booster: lightgbm.Booster, samples: Samples, log_odds_factor: float = 1.0
) -> Scorecard:
    """Fit the calibration on the calibration part, and return it with the scale and the grades of the spec.

    Args:
        spec: The spec.
        booster: The model.
        samples: The samples.
        log_odds_factor: Factor by which LightGBM converts a margin to log-odds. The calibration is fitted to these
            log-odds, because Newton's method may not converge on margins of a much larger scale.
    """
    rows = samples.part("CALIBRATION")
    margins = np.asarray(booster.predict(samples.features(rows), raw_score=True, num_threads=1)) * log_odds_factor
    slope, intercept = fit_calibration(margins, label_of(rows))
    return Scorecard(slope=slope * log_odds_factor, intercept=intercept, **spec.score.model_dump())


def freeze_baseline(spec: Spec, fitted: FittedModel, card: Scorecard, samples: Samples) -> BaselineDocument:
    """Select the baseline from the development rows, and return the baseline as a bundle stores it."""
    booster, ensemble = fitted.booster, fitted.ensemble
    rows = samples.part("FIT", "CALIBRATION")
    if spec.log is not None:  # use the newest development snapshot only, so that each customer has one row
        if spec.snapshots is None or spec.snapshots.calibration:
            rows = samples.part("CALIBRATION")
        rows = rows[rows["period"] == rows["period"].max()]
    margins = booster.predict(samples.features(rows), raw_score=True, num_threads=1)
    pds = np.array([pd_from_log_odds(log_odds_from_margin(card, margin)) for margin in np.asarray(margins).tolist()])
    chosen = select_baseline(spec.baseline, rows, pds)
    # With bagging, a tree is fitted on a part of the rows, and the file of a model does not state the number of all rows.
    largest = max(tree.count for tree in ensemble.trees)
    fit_rows = len(samples.part("FIT")) if fitted.file_sha256 is None else largest
    return baseline_document(spec.baseline, chosen, samples, ensemble, booster, fit_rows)


def _baseline_rows(baseline: BaselineDocument) -> NDArray[np.float64]:
    """Return the rows of the baseline: shape (n, n_features), NaN where missing."""
    return np.array(baseline.rows, dtype=np.float64)


def gain_shares(booster: lightgbm.Booster) -> dict[str, float]:
    """Return the share of each feature in the total gain of all splits."""
    gains = booster.feature_importance("gain")
    return dict(zip(booster.feature_name(), (gains / max(gains.sum(), 1e-300)).tolist(), strict=True))


def _model_text(booster: lightgbm.Booster) -> bytes:
    """Return the model in LightGBM's text format, without the number of threads used to fit it."""
    return re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", booster.model_to_string()).encode()


def _manifest(spec: Spec, spec_sha256: str, samples: Samples, model_sha256: str | None) -> Manifest:
    """Return the manifest: the family, the markets, the digests of the inputs, and the versions of the libraries."""
    markets = sorted({str(market) for market in samples.rows["market"]})
    libraries = {name: importlib.metadata.version(name) for name in ("lightgbm", "onnx", "onnxruntime")}
    made_from = {"spec_sha256": spec_sha256, "data_sha256": samples.data_sha256, **libraries}
    if model_sha256 is not None:
        made_from["model_sha256"] = model_sha256
    if spec.snapshots is not None:
        made_from |= row_definition(spec)
    made_from |= feature_expressions(spec) | samples.parts_record()
    return Manifest(format=FORMAT_VERSION, family=spec.family, markets=tuple(markets), files={}, made_from=made_from)
