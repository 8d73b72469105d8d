"""ModelService: describes the bundles of the catalog, with their markets and features."""

from grounds.model.v1 import model_pb2 as pb
from grounds.model.v1 import model_pb2_grpc
from server.edges.model.messages import model_message, summary_message
from server.edges.received_request import ReceivedRequest
from server.errors import BundleNotReadable, BundleUnknown
from server.registry.model_registry import ModelRegistry


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Answers the calls of every role, from the model registry in memory."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    async def ListModels(self, request: pb.ListModelsRequest, _received: ReceivedRequest) -> pb.ListModelsResponse:
        """Return a summary of every bundle. The summary of an invalid bundle states the problem."""
        serving = self._models.current
        entries = [entry for entry in serving.entries.values() if request.family in {"", entry.family}]
        summaries = [summary_message(serving, entry) for entry in entries]
        summaries.sort(key=lambda summary: (summary.family, not summary.serving_markets, summary.bundle_id))
        return pb.ListModelsResponse(models=summaries)

    async def GetModel(self, request: pb.GetModelRequest, _received: ReceivedRequest) -> pb.GetModelResponse:
        """Return one bundle with features, scorecard, metrics and model card."""
        serving = self._models.current
        entry = next((entry for entry in serving.entries.values() if entry.name == request.bundle_id), None)
        if entry is None:
            raise BundleUnknown(
                "bundle_id: the catalog has no bundle with this id; call ListModels to get the ids",
                bundle_id=request.bundle_id,
            )
        if entry.bundle is None:
            raise BundleNotReadable(f"the bundle is invalid: {entry.problem}", bundle_id=request.bundle_id)
        return pb.GetModelResponse(model=model_message(serving, entry, entry.bundle))
