"""Reads candidate models from bundles, and evaluates them with replaced parts."""

from dataclasses import replace
from pathlib import Path

import lightgbm

from models.bundle import read_bundle
from models.onnx_scorer import Scorer
from tests.conftest import ROOT
from training.equivalence.check import EquivalenceReport, RowKindResult
from training.evaluation.model_evaluation import ModelEvaluation, evaluate_model
from training.export.trees import read_ensemble
from training.release.model_release import gain_shares
from training.sources.samples import Samples
from training.sources.table import read_table_samples
from training.spec import Spec, read_spec
from training.validation.scored_sample import CandidateModel

UCI = ROOT / "training" / "data" / "uci_default_of_credit_card_clients.parquet"


def read_candidate(folder: Path) -> CandidateModel:
    """Return the candidate model of a bundle."""
    bundle = read_bundle(folder)
    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    kinds = tuple(RowKindResult(**kind.model_dump()) for kind in bundle.gate.kinds)
    return CandidateModel(
        scorer=Scorer(bundle.score, bundle.explain),
        card=bundle.scorecard,
        base_margin=bundle.baseline.base_margin,
        ensemble=read_ensemble(booster),
        gain=gain_shares(booster),
        parameters={},
        equivalence=EquivalenceReport(bundle.gate.method, bundle.gate.base_margin, kinds),
    )


def credit_family() -> tuple[Spec, Samples]:
    """Return the spec and samples of the shipped credit family; cross-validation is off, because it fits ten models."""
    spec, samples = read_table_samples(read_spec(ROOT / "training" / "credit.toml"), UCI)
    return spec.model_copy(update={"cross_validation_folds": 0}), samples


def with_sign(spec: Spec, name: str, sign: int) -> Spec:
    """Return the spec with a different sign for one feature."""
    features = tuple(
        feature.model_copy(update={"sign": sign}) if feature.name == name else feature for feature in spec.features
    )
    return spec.model_copy(update={"features": features})


def evaluate_candidate(spec: Spec, samples: Samples, exported: CandidateModel, **planted: object) -> ModelEvaluation:
    """Evaluate a candidate model with some of its parts replaced."""
    return evaluate_model(spec, samples, replace(exported, **planted), threads=1)
