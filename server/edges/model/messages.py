"""Builds the protobuf messages of the catalog's bundles."""

from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2 as pb
from models.bundle import Bundle
from models.bundle_documents import FeatureSpec, Scorecard
from models.catalog import CatalogEntry
from server.edges.explanations import baseline_message
from server.registry.model_registry import ServingModels


def summary_message(serving: ServingModels, entry: CatalogEntry) -> pb.ModelSummary:
    """Build the summary of a catalog entry."""
    markets = serving.markets_of(entry.name)
    state = pb.MODEL_STATE_SERVING if markets else pb.MODEL_STATE_AVAILABLE
    return pb.ModelSummary(
        family=entry.family,
        bundle_id=entry.name,
        state=pb.MODEL_STATE_REFUSED if entry.problem else state,
        serving_markets=markets,
        markets=entry.bundle.manifest.markets if entry.bundle else (),
        refusal=entry.problem,
    )


def model_message(serving: ServingModels, entry: CatalogEntry, bundle: Bundle) -> pb.Model:
    """Build the message of a bundle."""
    baseline: explain_pb2.Baseline = baseline_message(
        bundle.baseline_sha256, bundle.baseline.row_count, bundle.baseline.definition
    )
    return pb.Model(
        summary=summary_message(serving, entry),
        features=map(_feature_message, bundle.schema.features),
        baseline=baseline,
        scorecard=_scorecard_message(bundle.scorecard),
        metrics=bundle.metrics,
        card=bundle.card,
    )


def _feature_message(feature: FeatureSpec) -> pb.Feature:
    """Build the message of a feature."""
    return pb.Feature(
        name=feature.name,
        description=feature.description,
        kind=f"FEATURE_KIND_{feature.kind.upper()}",
        levels=feature.levels,
        unit=feature.unit,
        min=feature.min,
        max=feature.max,
        source=f"FEATURE_SOURCE_{feature.source}",
        mandatory=feature.mandatory,
        monotone_sign=feature.sign,
        group=feature.group,
    )


def _scorecard_message(card: Scorecard) -> pb.Scorecard:
    """Build the message of calibration, scaling and grades."""
    return pb.Scorecard(
        calibration_slope=card.slope,
        calibration_intercept=card.intercept,
        base_score=card.base_score,
        base_odds=card.base_odds,
        pdo=card.pdo,
        grades=[pb.Grade(grade=grade.grade, max_pd=grade.max_pd) for grade in card.grades],
    )
