"""ModelService: what is in the catalog, what serves, and what may be sent."""

from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2 as pb
from grounds.model.v1 import model_pb2_grpc
from models.bundle import Bundle
from models.bundle_documents import FeatureSpec, Scorecard
from models.catalog import CatalogEntry
from server.edges.context import Context
from server.edges.explanations import baseline_message
from server.errors import BundleNotReadable, BundleUnknown
from server.registry.model_registry import ModelRegistry, ServingModels


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Answers everybody."""

    def __init__(self, lineup: ModelRegistry) -> None:
        self.lineup = lineup

    async def ListModels(self, request: pb.ListModelsRequest, _context: Context) -> pb.ListModelsResponse:
        """List every bundle, refused ones with the reason."""
        lineup = self.lineup.current
        entries = [entry for entry in lineup.entries.values() if request.family in {"", entry.family}]
        summaries = [summary_of(lineup, entry) for entry in entries]
        summaries.sort(key=lambda summary: (summary.family, not summary.serving_markets, summary.bundle_id))
        return pb.ListModelsResponse(models=summaries)

    async def GetModel(self, request: pb.GetModelRequest, _context: Context) -> pb.GetModelResponse:
        """Give one bundle in full."""
        lineup = self.lineup.current
        entry = next((entry for entry in lineup.entries.values() if entry.name == request.bundle_id), None)
        if entry is None:
            raise BundleUnknown("there is no such bundle", bundle_id=request.bundle_id)
        if entry.bundle is None:
            raise BundleNotReadable(f"the bundle is refused: {entry.problem}", bundle_id=request.bundle_id)
        return pb.GetModelResponse(model=model_message(lineup, entry, entry.bundle))


def summary_of(lineup: ServingModels, entry: CatalogEntry) -> pb.ModelSummary:
    """Write one line of the catalog."""
    serving = lineup.markets_of(entry.name)
    state = pb.MODEL_STATE_SERVING if serving else pb.MODEL_STATE_AVAILABLE
    return pb.ModelSummary(
        family=entry.family,
        bundle_id=entry.name,
        state=pb.MODEL_STATE_REFUSED if entry.problem else state,
        serving_markets=serving,
        markets=entry.bundle.manifest.markets if entry.bundle else (),
        refusal=entry.problem,
    )


def model_message(lineup: ServingModels, entry: CatalogEntry, bundle: Bundle) -> pb.Model:
    """Write one bundle."""
    baseline: explain_pb2.Baseline = baseline_message(
        bundle.baseline_sha256, bundle.baseline.row_count, bundle.baseline.definition
    )
    return pb.Model(
        summary=summary_of(lineup, entry),
        features=map(feature_message, bundle.schema.features),
        baseline=baseline,
        scorecard=scorecard_message(bundle.scorecard),
        metrics=bundle.metrics,
        card=bundle.card,
    )


def feature_message(feature: FeatureSpec) -> pb.Feature:
    """Write one feature."""
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


def scorecard_message(card: Scorecard) -> pb.Scorecard:
    """Write calibration, scaling and grades."""
    return pb.Scorecard(
        calibration_slope=card.slope,
        calibration_intercept=card.intercept,
        base_score=card.base_score,
        base_odds=card.base_odds,
        pdo=card.pdo,
        grades=[pb.Grade(grade=grade.grade, max_pd=grade.max_pd) for grade in card.grades],
    )
