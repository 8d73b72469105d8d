"""ModelService: describes the bundles of the catalog, with their markets and features, and returns their reports."""

from pathlib import Path

from grounds.model.v1 import model_pb2 as pb
from grounds.model.v1 import model_pb2_grpc
from models.bundle import Bundle, read_bundle_file
from models.catalog import CatalogEntry
from models.errors import BundleInvalid
from server.edges.model.messages import model_message, summary_message
from server.edges.received_request import ReceivedRequest
from server.edges.thread_pool import StoreThreads
from server.errors import BundleNotReadable, BundleUnknown, ReportTooLarge
from server.registry.model_registry import ModelRegistry

_REPORT = "report.html"
_REPORT_BYTES_MAX = 3_000_000  # gRPC clients read at most 4 MiB by default


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Answers the calls of every role. All answers except reports come from the model registry in memory."""

    def __init__(self, models: ModelRegistry, bundles: Path, threads: StoreThreads) -> None:
        self._models, self._bundles, self._threads = models, bundles, threads

    async def ListModels(self, request: pb.ListModelsRequest, _received: ReceivedRequest) -> pb.ListModelsResponse:
        """Return a summary of every bundle. The summary of an invalid bundle states the problem."""
        serving = self._models.current
        entries = [entry for entry in serving.entries.values() if request.family in {"", entry.family}]
        summaries = [summary_message(serving, entry) for entry in entries]
        summaries.sort(key=lambda summary: (summary.family, not summary.serving_markets, summary.bundle_id))
        return pb.ListModelsResponse(models=summaries)

    async def GetModel(self, request: pb.GetModelRequest, _received: ReceivedRequest) -> pb.GetModelResponse:
        """Return one bundle with features, scorecard, metrics and model card."""
        entry, bundle = self._find_entry(request.bundle_id)
        return pb.GetModelResponse(model=model_message(self._models.current, entry, bundle))

    async def GetModelReport(
        self, request: pb.GetModelReportRequest, _received: ReceivedRequest
    ) -> pb.GetModelReportResponse:
        """Return the report that training wrote about a bundle."""
        entry, bundle = self._find_entry(request.bundle_id)
        html = await self._threads.run(self._read_report, entry, bundle)
        return pb.GetModelReportResponse(html=html, sha256=bundle.manifest.files[_REPORT])

    def _find_entry(self, bundle_id: str) -> tuple[CatalogEntry, Bundle]:
        """Return a bundle of the catalog with its entry.

        Raises:
            BundleUnknown: The catalog has no bundle with this id.
            BundleNotReadable: The bundle is invalid.
        """
        entry = next((entry for entry in self._models.current.entries.values() if entry.name == bundle_id), None)
        if entry is None:
            raise BundleUnknown(
                "bundle_id: the catalog has no bundle with this id; call ListModels to get the ids", bundle_id=bundle_id
            )
        if entry.bundle is None:
            raise BundleNotReadable(f"the bundle is invalid: {entry.problem}", bundle_id=bundle_id)
        return entry, entry.bundle

    def _read_report(self, entry: CatalogEntry, bundle: Bundle) -> bytes:
        """Read the report of a bundle. This method runs in a thread."""
        try:
            html = read_bundle_file(self._bundles / entry.family / entry.name, bundle, _REPORT)
        except BundleInvalid as error:
            raise BundleNotReadable(f"the bundle is invalid: {error}", bundle_id=entry.name) from error
        if len(html) > _REPORT_BYTES_MAX:
            raise ReportTooLarge(
                f"the report has {len(html):,} bytes, but an answer has at most {_REPORT_BYTES_MAX:,}; read {_REPORT} in the "
                "bundle's folder",
                bundle_id=entry.name,
                bytes_max=str(_REPORT_BYTES_MAX),
            )
        return html
