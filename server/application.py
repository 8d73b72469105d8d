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
from server.edges.audit.churn_evidence import ChurnEvidenceDesk
from server.edges.audit.churn_replay import ChurnReplays
from server.edges.audit.decision_lists import DecisionLists
from server.edges.audit.evidence import BundlesTold, EvidenceDesk
from server.edges.audit.past import Past
from server.edges.audit.readings import Readings
from server.edges.audit.replay import Replays
from server.edges.audit.servicer import AuditServicer
from server.edges.churn.servicer import ChurnServicer
from server.edges.credit.servicer import FAMILY, CreditServicer
from server.edges.interceptor import Gate
from server.edges.model.servicer import ModelServicer
from server.edges.page_tokens import PageTokens
from server.edges.places import place_of
from server.edges.recorder import IDLE_PROBE_SECONDS, Recorder
from server.edges.reflection import add_reflection
from server.edges.thread_pool import Threads
from server.edges.warm_up import read_rules, rehearse, settle
from server.registry.policy_watch import PolicyWatch
from server.registry.serving_models import LineupWatch
from server.stores.catalog.bundle_cache import BundleCaches
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.features import FeatureStore
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.record_log.decision_index import DecisionIndex
from server.stores.record_log.header_chunks import HeaderIndexer
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
CREDIT, AUDIT, CHURN, MODEL = (service.full_name for service in SERVICES)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HARD_LIMIT = 4  # times `request_bytes_max`: up to it a refusal has an ErrorInfo, beyond it gRPC refuses by itself
OWN_CONNECTIONS = 4  # of the recorder, the anchors and the chunker, and one to spare
QUIET_SECONDS = 0.1  # no call for so long means that none is on its way


class PortTaken(Exception):
    """Something else listens there."""


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
    chunk_seconds = 60.0
    spare_seconds = 5.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self.database = Database(settings.database, connections=2 * settings.store_threads + OWN_CONNECTIONS)
        self.threads, self.readers = Threads(settings.store_threads), Threads(settings.store_threads)
        self.lineup = LineupWatch(settings.bundles)
        self.health = health.aio.HealthServicer()
        self.gate = Gate(settings.request_bytes_max)
        self.anchors = CheckpointAnchor(self.database, settings.anchor_folder, settings.anchor_command)
        self.chunker, self.samples = HeaderIndexer(self.database), SampleDrawer(self.database)
        self.log: RecordLog | None = None
        self.recorder: Recorder | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.failing: dict[str, list[str]] = {}  # where each background task failed the last time

    async def start(self) -> None:
        """Read policy and models, open the database, listen; health is SERVING where all of it is there."""
        policies = PolicyWatch(self.settings.policy)
        await self.threads.run(self.database.migrate)
        kept = PolicyStore(self.database)
        await self.threads.run(policies.keep_with, lambda policy: kept.save(policy.content))
        self.log = await self.threads.run(self.open_log)
        self.recorder = Recorder(self.log, self.tell_health, self.idle_probe_seconds)
        await self.threads.run(self.lineup.refresh)
        key = await self.threads.run(self.database.key, "page_tokens")
        tokens = PageTokens(key, self.settings.churn_token_days, clock=now)
        self.server = self.build(policies, tokens, (self.recorder, self.log))
        await self.attempt("rehearsal", self.threads.run(self.rehearse, self.log))
        address = f"{self.settings.host}:{self.settings.port}"
        try:
            self.port = self.server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTaken(f"{address} cannot be listened on: another server has it; choose another port") from error
        await self.server.start()
        await self.tell_health()
        self.recorder.start()
        self.tasks = [
            asyncio.create_task(each) for each in (self.watch(policies), self.anchor(), self.chunk(), self.spare())
        ]
        LOG.info("serving", address=f"{self.settings.host}:{self.port}", policy=policies.now.document.version)

    def rehearse(self, log: RecordLog) -> None:
        """Let the first call wait no longer than the next."""
        read_rules(SERVICES)
        schemas = [model.bundle.schema for (family, _), model in self.lineup.now.serving.items() if family == FAMILY]
        rehearse(log, FeatureStore(self.database), schemas[:1])  # one statement serves them all

    def open_log(self) -> RecordLog:
        """Open the log with its keys, or begin it."""
        return open_log(self.database, KeyLocations.from_settings(self.settings))

    def build(self, policies: PolicyWatch, tokens: PageTokens, records: tuple[Recorder, RecordLog]) -> grpc.aio.Server:
        """Make the gRPC server with every service."""
        options = [
            ("grpc.max_receive_message_length", HARD_LIMIT * self.settings.request_bytes_max),
            ("grpc.so_reuseport", 0),  # two servers on one port are a mistake, not a fleet
        ]
        server = grpc.aio.server(
            interceptors=[self.gate], options=options, maximum_concurrent_rpcs=self.settings.requests_in_flight_max
        )
        features = FeatureStore(self.database)
        credit = CreditServicer(self.lineup, policies, features, records, self.threads, clock=now)
        credit_pb2_grpc.add_CreditServiceServicer_to_server(credit, server)
        churn = ChurnServicer(PredictionStore(self.database), ChangeStore(self.database), tokens, self.readers)
        churn_pb2_grpc.add_ChurnServiceServicer_to_server(churn, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self.audit(features, tokens, records), server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self.lineup), server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if self.settings.reflection:
            add_reflection((AUDIT, CREDIT, CHURN, MODEL, health.SERVICE_NAME), server)
        return server

    def audit(self, features: FeatureStore, tokens: PageTokens, records: tuple[Recorder, RecordLog]) -> AuditServicer:
        """Make what answers auditors."""
        proofs, policies = ProofReader(self.database), PolicyStore(self.database)
        shelves = BundleCaches(self.settings.bundles)
        shelf = shelves.for_family(FAMILY)
        recorder, log = records
        readings = Readings(recorder, clock=now)
        bundles = BundlesTold(self.lineup)
        desk = EvidenceDesk(readings, log, proofs, (policies, bundles), self.readers)
        replays = Replays(readings, log, proofs, Past(shelf, policies, features), self.readers)
        lists = DecisionLists((DecisionIndex(self.database), self.samples), proofs, tokens, self.readers)
        rows = RunEvidenceReader(log)
        risks = (
            ChurnEvidenceDesk(readings, rows, proofs, bundles, self.readers),
            ChurnReplays(readings, rows, proofs, shelves, self.readers),
        )
        return AuditServicer(proofs, self.readers, (desk, replays, lists), risks)

    async def tell_health(self) -> None:
        """Say of CreditService, and of "", whether a model is active and records can be written.

        The other services only read: each call says for itself whether the database answers.
        """
        writable = self.recorder is not None and self.recorder.writable
        credit = SERVING if writable and self.lineup.now.markets(FAMILY) else NOT_SERVING
        for service, status in ((AUDIT, SERVING), (CREDIT, credit), (CHURN, SERVING), (MODEL, SERVING), ("", credit)):
            await self.health.set(service, status)

    async def watch(self, policies: PolicyWatch) -> None:
        """Look at the catalog and the policy again and again; a look that fails changes nothing."""
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            await self.attempt("catalog", self.threads.run(self.lineup.refresh))
            await self.attempt("policy", self.threads.run(policies.refresh))
            await self.attempt("health", self.tell_health())

    async def anchor(self) -> None:
        """Push the newest checkpoint again and again; no answer waits for it."""
        while True:
            await self.attempt("anchor", asyncio.to_thread(self.anchors.push))
            await asyncio.sleep(self.settings.anchor_seconds)

    async def chunk(self) -> None:
        """Have what samples look at put side by side again and again; no answer waits for it."""
        while True:
            await self.attempt("chunks", self.chunker.build_missing_chunks())
            await asyncio.sleep(self.chunk_seconds)

    async def spare(self) -> None:
        """Have a process ready that draws samples, once callers have been served."""
        await asyncio.sleep(self.spare_seconds)
        await self.attempt("spare", self.readers.run(self.samples.start_standby))

    async def attempt(self, task: str, work: Awaitable[object]) -> None:
        """Do what is done again and again; whatever it raises is logged, once while it stays the same, and it goes on."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a folder that is just being moved, or a bug
            place = place_of(error)
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
        await self.gate.quiet(QUIET_SECONDS, seconds / 2)
        self.gate.draining = True
        await self.gate.quiet(QUIET_SECONDS, seconds / 4)
        await self.server.stop(seconds / 4)
        await self.close_log()
        self.threads.close()
        self.readers.close()
        self.samples.close()
        self.database.close()
        written = self.recorder
        LOG.info("stopped", records=written.records if written else 0, commits=written.commits if written else 0)

    async def close_log(self) -> None:
        """Write what waits, and push the last checkpoint."""
        if self.recorder is not None:
            await self.recorder.close()
            await self.attempt("anchor", asyncio.to_thread(self.anchors.push))
        if self.log is not None:
            self.log.close()


def now() -> dt.datetime:
    """Give the time."""
    return dt.datetime.now(dt.UTC)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    settle()
    application = Application(settings)
    await application.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    LOG.info("draining")
    await application.stop()
