"""Releases a model that was fitted elsewhere: calibrates, exports, checks and measures it, and writes the bundle."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from sklearn.metrics import roc_auc_score

from models.schema import UNSEEN
from training.console import Console
from training.errors import DataInvalid, ModelRejected, quote_name, shorten_list
from training.export.trees import Ensemble
from training.fitting.calibration import ROWS_OF_OUTCOME_MIN
from training.model_file import ModelFile
from training.release.model_release import FittedModel, Release, checked_schema, release_fitted_model
from training.sources.samples import Samples, label_of
from training.spec import Spec

_NORMAL_QUANTILE = 1.645  # of a one-sided test at 5 %
_UNKNOWN_SHARE_MAX = 0.5
_LEVELS_SHOWN = 5
_FITTED_ELSEWHERE = (
    "the model was fitted elsewhere; figures of rows that it was fitted on are too good, and so are those of rows that helped to "
    "choose its parameters"
)
_PARAMETERS = ("boosting", "num_leaves", "max_depth", "learning_rate", "min_data_in_leaf", "feature_fraction")


def release_external_model(
    spec: Spec,
    spec_sha256: str,
    samples: Samples,
    file: ModelFile,
    ensemble: Ensemble,
    bundles: Path,
    console: Console,
    rejected: Path | None = None,
) -> Release:
    """Calibrate, export, check and measure a model, and write its bundle. If a step fails, no bundle is written.

    Args:
        spec: The spec with the features and levels of the model, from `external_features.match_features`.
        spec_sha256: SHA-256 of the spec.
        samples: The rows, read with this spec.
        file: The file of the model.
        ensemble: The trees of the model.
        bundles: Folder of the bundle catalog to which the bundle is added.
        console: Shows the progress.
        rejected: Folder to which the report is written if a release gate fails; None to write no report in this case.

    Raises:
        SpecInvalid: A reason text is invalid.
        DataInvalid: A feature contains the outcome, or most levels of a category are unknown to the model.
        ModelRejected: The calibration part has too few rows, the model does not rank it better than chance, an exported
            file differs from the model, or a release gate failed.
    """
    remarks = [_FITTED_ELSEWHERE, *_unknown_level_remarks(spec, samples)]
    _check_ranking(file.booster, samples)
    if spec.cross_validation_folds:
        spec = spec.model_copy(update={"cross_validation_folds": 0})
        remarks.append("cross-validation: not measured, because the model was fitted elsewhere")
    if samples.rejected is not None:
        samples = replace(samples, rejected=None)
        remarks.append(
            "rejected applicants: not measured, because the model was fitted elsewhere and cannot be fitted again"
        )
    fitted = FittedModel(
        file.booster,
        ensemble,
        _parameters(file.booster, ensemble),
        remarks=tuple(remarks),
        file_sha256=file.sha256,
    )
    console.info("calibrate and export the model")
    schema = checked_schema(spec, samples)
    return release_fitted_model(spec, spec_sha256, samples, schema, fitted, bundles, console, rejected)


def _check_ranking(booster: lightgbm.Booster, samples: Samples) -> None:
    """Check that the model ranks the calibration part better than chance.

    A model whose features have other units or other meanings in the data than in its fit often ranks at random.

    Raises:
        ModelRejected: There are too few rows, or the AUC is not above 0.5 by a one-sided Mann-Whitney test at 5 %.
    """
    rows = samples.part("CALIBRATION")
    labels = label_of(rows)
    bads, goods = int(labels.sum()), int((1 - labels).sum())
    if min(bads, goods) < ROWS_OF_OUTCOME_MIN:
        raise ModelRejected(
            f"calibration: {bads:,} bad and {goods:,} good rows are too few to calibrate a model that was fitted elsewhere; use a "
            f"calibration part with at least {ROWS_OF_OUTCOME_MIN} rows of each outcome: add rows to the data, or give split more "
            "calibration buckets"
        )
    found = float(roc_auc_score(labels, np.asarray(booster.predict(samples.features(rows), raw_score=True))))
    least = 0.5 + _NORMAL_QUANTILE * math.sqrt((bads + goods + 1) / (12 * bads * goods))
    if not found > least:
        raise ModelRejected(
            f"calibration: the model ranks the calibration part at random: its AUC is {found:.4f}, and must be above {least:.4f} "
            f"for {bads:,} bad and {goods:,} good rows; check that every feature has the same meaning and unit as in the fit of the "
            "model, and that table.label states which outcome is bad"
        )


def _unknown_level_remarks(spec: Spec, samples: Samples) -> list[str]:
    """Return a remark for each category with levels that the model does not know.

    Raises:
        DataInvalid: Most values of a category are unknown, so the data probably write its levels in another way.
    """
    remarks = []
    columns = {feature.name: feature.column or feature.name for feature in spec.features}
    for name, levels in samples.levels.items():
        codes = samples.rows[name].dropna()
        unknown = int((codes == UNSEEN).sum())
        if unknown > _UNKNOWN_SHARE_MAX * len(codes):
            shown = ", ".join(shorten_list([repr(level) for level in levels], _LEVELS_SHOWN, ""))
            raise DataInvalid(
                f"features.{name}, column {quote_name(columns[name])}: the model does not know the level of {unknown:,} of {len(codes):,} rows; its levels are {shown}; "
                "write the levels in the data as in the fit of the model, for example with an SQL expression as column"
            )
        if unknown:
            remarks.append(
                f"{name}: the model does not know the level of {unknown:,} of {len(codes):,} rows, which take the branch of other levels"
            )
    return remarks


def _parameters(booster: lightgbm.Booster, ensemble: Ensemble) -> Mapping[str, Any]:
    """Return the hyperparameters that the file of the model states, for the report."""
    stated = {name: booster.params[name] for name in _PARAMETERS if name in booster.params}
    return {"num_iterations": len(ensemble.trees), **stated}
