"""Puts the server together, starts it, and stops it without dropping a call."""

import asyncio
import datetime as dt
import signal
from collections.abc import Awaitable

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc
from grounds.churn.v1 import churn_pb2, churn_pb2_grpc
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from grounds.model.v1 import model_pb2, model_pb2_grpc
from server.config import Settings
from server.edges.audit.churn_evidence import ChurnEvidenceReader
from server.edges.audit.churn_replay import ChurnReplayer
from server.edges.audit.decision_lists import DecisionSearch
from server.edges.audit.evidence import BundleEvidenceCache, DecisionEvidenceReader
from server.edges.audit.past import ReplaySources
from server.edges.audit.readings import ReadingRecorder
from server.edges.audit.replay import DecisionReplayer
from server.edges.audit.servicer import AuditServicer
from server.edges.churn.servicer import ChurnServicer
from server.edges.credit.servicer import FAMILY, CreditServicer
from server.edges.error_location import error_location
from server.edges.interceptor import CallInterceptor
from server.edges.model.servicer import ModelServicer
from server.edges.page_tokens import PageTokens
from server.edges.recorder import IDLE_PROBE_SECONDS, Recorder
from server.edges.reflection import add_reflection
from server.edges.thread_pool import StoreThreads
from server.edges.warm_up import compile_validation_rules, freeze_startup_objects, warm_up
from server.errors import PortInUse
from server.registry.model_registry import ModelRegistry
from server.registry.policy_registry import PolicyRegistry
from server.stores.catalog.bundle_cache import BundleCaches
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.features import FeatureStore
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.record_log.decision_index import DecisionIndex
from server.stores.record_log.header_index import HeaderIndexer
from server.stores.record_log.log import RecordLog
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.sampling import SampleDrawer
from server.stores.runs.changes import ChangeStore
from server.stores.runs.evidence import RunEvidenceReader
from server.stores.runs.predictions import PredictionStore

LOG = structlog.get_logger()
SERVICES = (
    credit_pb2.DESCRIPTOR.services_by_name["CreditService"],
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
    churn_pb2.DESCRIPTOR.services_by_name["ChurnService"],
    model_pb2.DESCRIPTOR.services_by_name["ModelService"],
)
_CREDIT, _AUDIT, _CHURN, _MODEL = (service.full_name for service in SERVICES)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TRANSPORT_LIMIT_FACTOR = (
    4  # times `request_bytes_max`: up to it a refusal has an ErrorInfo, beyond it gRPC refuses by itself
)
_OWN_CONNECTIONS = 4  # of the recorder, the anchors and the chunker, and one to spare
_IDLE_SECONDS = 0.1  # no call for so long means that none is on its way


class Application:
    """A running server: start, port, stop.

    Raises on `start`: PortTaken, PolicyRefused, DatabaseRefused, LogRefused, StoreUnavailable.

    Attributes:
        threads: Wait for the database for the loan desk.
        readers: Wait for it for the CRM and for auditors, so that no loan desk waits behind their long reads.
        idle_probe_seconds: How long nothing is written before it is tried whether it could be.
        chunk_seconds: How often it is looked whether the log has grown by a chunk.
        spare_seconds: How long after the start the process that draws the next sample begins.
    """

    idle_probe_seconds = IDLE_PROBE_SECONDS
    header_chunk_seconds = 60.0
    standby_delay_seconds = 5.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self.database = Database(settings.database, connections=2 * settings.store_threads + _OWN_CONNECTIONS)
        self.threads, self.readers = StoreThreads(settings.store_threads), StoreThreads(settings.store_threads)
        self.models = ModelRegistry(settings.bundles)
        self.health = health.aio.HealthServicer()
        self.interceptor = CallInterceptor(settings.request_bytes_max)
        self.anchors = CheckpointAnchor(self.database, settings.anchor_folder, settings.anchor_command)
        self.chunker, self.samples = HeaderIndexer(self.database), SampleDrawer(self.database)
        self.log: RecordLog | None = None
        self.recorder: Recorder | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.failing: dict[str, list[str]] = {}  # where each background task failed the last time

    async def start(self) -> None:
        """Read policy and models, open the database, listen; health is SERVING where all of it is there."""
        policies = PolicyRegistry(self.settings.policy)
        await self.threads.run(self.database.migrate)
        kept = PolicyStore(self.database)
        await self.threads.run(policies.store_policies, lambda policy: kept.save(policy.content))
        self.log = await self.threads.run(self._open_log)
        self.recorder = Recorder(self.log, self._update_health, self.idle_probe_seconds)
        await self.threads.run(self.models.refresh)
        key = await self.threads.run(self.database.key, "page_tokens")
        tokens = PageTokens(key, self.settings.churn_token_days, clock=utc_now)
        self.server = self._build_server(policies, tokens, (self.recorder, self.log))
        await self.attempt("rehearsal", self.threads.run(self._warm_up, self.log))
        address = f"{self.settings.host}:{self.settings.port}"
        try:
            self.port = self.server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortInUse(f"{address} cannot be listened on: another server has it; choose another port") from error
        await self.server.start()
        await self._update_health()
        self.recorder.start()
        self.tasks = [
            asyncio.create_task(each) for each in (self.watch(policies), self.anchor(), self.chunk(), self.spare())
        ]
        LOG.info("serving", address=f"{self.settings.host}:{self.port}", policy=policies.current.document.version)

    def _warm_up(self, log: RecordLog) -> None:
        """Let the first call wait no longer than the next."""
        compile_validation_rules(SERVICES)
        schemas = [
            model.bundle.schema for (family, _), model in self.models.current.serving.items() if family == FAMILY
        ]
        warm_up(log, FeatureStore(self.database), schemas[:1])  # one statement serves them all

    def _open_log(self) -> RecordLog:
        """Open the log with its keys, or begin it."""
        return open_log(self.database, KeyLocations.from_settings(self.settings))

    def _build_server(
        self, policies: PolicyRegistry, tokens: PageTokens, records: tuple[Recorder, RecordLog]
    ) -> grpc.aio.Server:
        """Make the gRPC server with every service."""
        options = [
            ("grpc.max_receive_message_length", TRANSPORT_LIMIT_FACTOR * self.settings.request_bytes_max),
            ("grpc.so_reuseport", 0),  # two servers on one port are a mistake, not a fleet
        ]
        server = grpc.aio.server(
            interceptors=[self.interceptor],
            options=options,
            maximum_concurrent_rpcs=self.settings.requests_in_flight_max,
        )
        features = FeatureStore(self.database)
        credit = CreditServicer(self.models, policies, features, records, self.threads, clock=utc_now)
        credit_pb2_grpc.add_CreditServiceServicer_to_server(credit, server)
        churn = ChurnServicer(PredictionStore(self.database), ChangeStore(self.database), tokens, self.readers)
        churn_pb2_grpc.add_ChurnServiceServicer_to_server(churn, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self._build_audit_servicer(features, tokens, records), server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self.models), server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if self.settings.reflection:
            add_reflection((_AUDIT, _CREDIT, _CHURN, _MODEL, health.SERVICE_NAME), server)
        return server

    def _build_audit_servicer(
        self, features: FeatureStore, tokens: PageTokens, records: tuple[Recorder, RecordLog]
    ) -> AuditServicer:
        """Make what answers auditors."""
        proofs, policies = ProofReader(self.database), PolicyStore(self.database)
        shelves = BundleCaches(self.settings.bundles)
        shelf = shelves.for_family(FAMILY)
        recorder, log = records
        readings = ReadingRecorder(recorder, clock=utc_now)
        bundles = BundleEvidenceCache(self.models)
        desk = DecisionEvidenceReader(readings, log, proofs, (policies, bundles), self.readers)
        replays = DecisionReplayer(readings, log, proofs, ReplaySources(shelf, policies, features), self.readers)
        lists = DecisionSearch((DecisionIndex(self.database), self.samples), proofs, tokens, self.readers)
        rows = RunEvidenceReader(log)
        risks = (
            ChurnEvidenceReader(readings, rows, proofs, bundles, self.readers),
            ChurnReplayer(readings, rows, proofs, shelves, self.readers),
        )
        return AuditServicer(proofs, self.readers, (desk, replays, lists), risks)

    async def _update_health(self) -> None:
        """Say of CreditService, and of "", whether a model is active and records can be written.

        The other services only read: each call says for itself whether the database answers.
        """
        writable = self.recorder is not None and self.recorder.writable
        credit = _SERVING if writable and self.models.current.markets(FAMILY) else _NOT_SERVING
        for service, status in (
            (_AUDIT, _SERVING),
            (_CREDIT, credit),
            (_CHURN, _SERVING),
            (_MODEL, _SERVING),
            ("", credit),
        ):
            await self.health.set(service, status)

    async def watch(self, policies: PolicyRegistry) -> None:
        """Look at the catalog and the policy again and again; a look that fails changes nothing."""
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            await self.attempt("catalog", self.threads.run(self.models.refresh))
            await self.attempt("policy", self.threads.run(policies.refresh))
            await self.attempt("health", self._update_health())

    async def anchor(self) -> None:
        """Push the newest checkpoint again and again; no answer waits for it."""
        while True:
            await self.attempt("anchor", asyncio.to_thread(self.anchors.push))
            await asyncio.sleep(self.settings.anchor_seconds)

    async def chunk(self) -> None:
        """Have what samples look at put side by side again and again; no answer waits for it."""
        while True:
            await self.attempt("chunks", self.chunker.build_missing_chunks())
            await asyncio.sleep(self.header_chunk_seconds)

    async def spare(self) -> None:
        """Have a process ready that draws samples, once callers have been served."""
        await asyncio.sleep(self.standby_delay_seconds)
        await self.attempt("spare", self.readers.run(self.samples.start_standby))

    async def attempt(self, task: str, work: Awaitable[object]) -> None:
        """Do what is done again and again; whatever it raises is logged, once while it stays the same, and it goes on."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a folder that is just being moved, or a bug
            place = error_location(error)
            if self.failing.get(task) != place:
                LOG.error("background task failed", task=task, error=type(error).__name__, place=place)
            self.failing[task] = place
        else:
            self.failing.pop(task, None)

    async def stop(self) -> None:
        """Drain, then close the stores.

        Health says NOT_SERVING first, while calls are still answered, so that callers go elsewhere. gRPC
        cancels calls that have arrived but not begun when it stops; so it is stopped when none arrives.
        """
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.health.enter_graceful_shutdown()
        seconds = self.settings.drain_seconds_max
        await self.interceptor.wait_until_idle(_IDLE_SECONDS, seconds / 2)
        self.interceptor.draining = True
        await self.interceptor.wait_until_idle(_IDLE_SECONDS, seconds / 4)
        await self.server.stop(seconds / 4)
        await self._close_log()
        self.threads.close()
        self.readers.close()
        self.samples.close()
        self.database.close()
        written = self.recorder
        LOG.info("stopped", records=written.records if written else 0, commits=written.commits if written else 0)

    async def _close_log(self) -> None:
        """Write what waits, and push the last checkpoint."""
        if self.recorder is not None:
            await self.recorder.close()
            await self.attempt("anchor", asyncio.to_thread(self.anchors.push))
        if self.log is not None:
            self.log.close()


def utc_now() -> dt.datetime:
    """Give the time."""
    return dt.datetime.now(dt.UTC)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    freeze_startup_objects()
    application = Application(settings)
    await application.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    LOG.info("draining")
    await application.stop()
