"""The server application: builds the server from its parts, starts, drains and stops it."""

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import generate_latest

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc
from grounds.churn.v1 import churn_pb2, churn_pb2_grpc
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from grounds.model.v1 import model_pb2, model_pb2_grpc
from models.isolation.processes import GraphProcesses
from server.background import BackgroundTasks
from server.config import Settings
from server.edges.audit.churn_evidence import ChurnEvidenceReader
from server.edges.audit.churn_replay import ChurnReplayer
from server.edges.audit.decision_evidence import BundleEvidenceCache, DecisionEvidenceReader
from server.edges.audit.decision_notice import NoticeWriter
from server.edges.audit.decision_replay import DecisionReplayer, ReplaySources
from server.edges.audit.decision_search import DecisionSearch
from server.edges.audit.operation_history import OperationHistory
from server.edges.audit.readings import ReadingRecorder
from server.edges.audit.servicer import AuditServicer
from server.edges.audit.stored_records import StoredRecords
from server.edges.call_deadline import ANSWER_SECONDS
from server.edges.churn.contact_history import ContactHistory
from server.edges.churn.contacts import ContactRecorder
from server.edges.churn.servicer import ChurnServicer
from server.edges.credit.batches import DecisionBatches
from server.edges.credit.customer_history import CustomerHistory
from server.edges.credit.decision_making import DecisionMaker
from server.edges.credit.events import DecisionEvents
from server.edges.credit.servicer import CreditServicer
from server.edges.health import HealthServicer
from server.edges.identity.identification import certificate_files, identification
from server.edges.interceptor import CallInterceptor
from server.edges.limits import CallLimits
from server.edges.model.servicer import ModelServicer
from server.edges.page_tokens import PageTokens
from server.edges.recording.events import EventRecorder
from server.edges.recording.recorder import IDLE_PROBE_SECONDS, Recorder
from server.edges.recording.refusals import REFUSAL_SECONDS
from server.edges.reflection import add_reflection
from server.edges.thread_pool import StoreThreads
from server.edges.transport import server_options
from server.edges.warm_up import compile_validation_rules, freeze_startup_objects, warm_up
from server.errors import PolicyRefused, PortInUse, StoreUnavailable
from server.maintenance.erasure import apply_listed_erasures
from server.measurements import MEASURE_SECONDS, ServerMeasurements, ServerParts, read_store_figures
from server.monitoring.endpoint import MonitoringEndpoint, ProbeSources
from server.monitoring.meters import Meters
from server.registry.bundle_activation import ActivationJournal
from server.registry.bundle_signatures import BundleSignatures
from server.registry.model_registry import CREDIT_FAMILY, ModelRegistry
from server.registry.policy_activation import activate_policy_of_file
from server.registry.policy_registry import PolicyRegistry
from server.stores.catalog.bundle_cache import BundleCaches
from server.stores.catalog.policies import PolicyStore
from server.stores.certificates import certificate_end
from server.stores.clock import Clock, read_newest_record
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
from server.stores.runs.publication import fill_families
from server.stores.token_keys import PageTokenKeys
from server.worker_status import Peers

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
# Database connections: one each for recorder, batches, anchoring, header index and measurements, and one in reserve.
_OWN_CONNECTIONS = 6
_PEER_SECONDS = 0.25  # interval at which a worker reports its status and reads those of the others
# Threads for the background tasks: catalog, policy, token keys, anchor, header chunks, standby worker and measurements.
_HOUSEKEEPERS = 7
_WATCH_SECONDS = 1.0  # pause between two checks of the background tasks
_CLOSE_SECONDS = 3.0  # time limit after the drain for the last records, the last checkpoint, and the threads
_THREADS_SECONDS_MIN = 0.2
_CERTIFICATE_SECONDS, _CERTIFICATE_DAYS, _DAY_SECONDS = 3600.0, 14, 86_400
_ALIVE_SECONDS = 5.0  # an event loop that does not respond for this time does not work
_REPLAY_THREADS = 4
_IDLE_SECONDS = 0.1  # a draining server counts as idle after this time without a new call


class Application:
    """A server with its stores, services and background tasks.

    Tests subclass the application to inject faults. They may replace attributes that `__init__` sets, but only before
    `start`.

    Attributes:
        settings: The settings, read from the configuration file and the environment.
        port: The port on which the server listens; 0 before `start`.
        database: The database with all stores except the customers' keys.
        threads: The threads for database work of the loan desk.
        readers: The threads for database work of CRM and auditors, whose long reads must not delay the loan desk.
        batch_threads: The thread that decides batches. A second one would only compete with single decisions.
        housekeepers: The threads for work of the background tasks, one for each task.
        background: The background tasks, and their counters.
        meters: Counts calls, commits and decisions.
        measurements: Reads the state of the server for the metrics.
        models: The registry of the models that serve now.
        graphs: The processes that run the graphs of bundles that do not serve.
        replays: The threads for replays. They are separate from `readers`, because a replay may wait for a process of
            `graphs`.
        interceptor: The interceptor of all calls, which counts the calls in progress.
        anchors: Pushes checkpoints of the record log to the anchor folder or command.
        chunker: Builds the header chunks that are used for sampling.
        samples: Draws samples of decisions, in a standby worker.
        clock: The clock, which is checked before each append.
        log: The record log; None before `start`.
        recorder: Appends records to the log; None before `start`.
        endpoint: The HTTP endpoint for probes and metrics; None before `start`, or if none is configured.
        idle_probe_seconds: Time in seconds without a write, after which the log is probed.
        header_chunk_seconds: Pause in seconds between two checks for missing header chunks.
        standby_seconds: Pause in seconds between two checks of the standby worker.
        standby_delay_seconds: Time in seconds between the start of the server and that of the standby worker.
    """

    idle_probe_seconds = IDLE_PROBE_SECONDS
    header_chunk_seconds = 60.0
    standby_seconds = 60.0
    standby_delay_seconds = 5.0

    def __init__(self, settings: Settings, peers: Peers | None = None) -> None:
        """Create a server that is not listening yet.

        Args:
            settings: The settings.
            peers: All workers that share the port, this server included; None if the server has the port for itself.

        Raises:
            AuthorityRefused, TlsRefused, TokenKeysRefused: A file that identifies callers is missing or invalid.
        """
        self.settings = settings
        self._peers = peers
        self.port = 0
        connections = 2 * settings.store_threads + _REPLAY_THREADS + _OWN_CONNECTIONS
        self.database = Database(settings.database, connections=connections)
        self.threads, self.readers = StoreThreads(settings.store_threads), StoreThreads(settings.store_threads)
        self.batch_threads = StoreThreads(1)
        self.housekeepers = StoreThreads(_HOUSEKEEPERS)
        self.meters = Meters()
        self.models = ModelRegistry(settings.bundles, signatures=BundleSignatures(settings.bundle_keys))
        self.graphs, self.replays = GraphProcesses(), StoreThreads(_REPLAY_THREADS)
        limits = CallLimits.from_settings(settings)
        self.interceptor = CallInterceptor(
            settings.request_bytes_max,
            limits,
            request_seconds_max=settings.request_seconds_max,
            answer_seconds_max=settings.answer_seconds_max,
            identification=identification(settings),
            clock=lambda: self.clock.now(),  # noqa: PLW0108 - the clock is created later, and tests may replace it
            meters=self.meters,
            slow_call_seconds=settings.slow_call_seconds,
        )
        self._tls = certificate_files(settings)
        self.anchors = CheckpointAnchor(self.database, settings.anchor_folder, settings.anchor_command)
        self.chunker = HeaderIndexer(self.database, run_in_thread=self.housekeepers.run)
        self.samples = SampleDrawer(self.database)
        self.clock = Clock()
        self.log: RecordLog | None = None
        self.recorder: Recorder | None = None
        self.endpoint: MonitoringEndpoint | None = None
        self._health = HealthServicer()
        self.background = BackgroundTasks(self._update_health)
        self._recording = BackgroundTasks(self._update_health)  # stopped last, because calls in progress need it
        self._policies: PolicyRegistry | None = None
        self.measurements = ServerMeasurements(self._measured_parts(limits))
        self.meters.registry.register(self.measurements)

    async def start(self) -> None:
        """Open the stores, read policy and models, warm up, listen, and start the background tasks.

        Raises:
            PolicyRefused, RecordDamaged: The policy in force is invalid or incomplete, or its stored copy was changed.
            DatabaseRefused, LogRefused: The database or the record log cannot be used.
            StoreUnavailable: The database does not answer.
            PortInUse: Another process listens on the port.
        """
        self._open_endpoint()  # first, because a start may take long: migrations, for example
        await self.housekeepers.run_long(self.database.migrate)
        # A worker that is replaced later must use the same policy, even if the file has changed.
        policies = PolicyRegistry(
            self.settings.policy,
            PolicyStore(self.database),
            follows_file=self._peers is None and not self.settings.four_eyes,
        )
        await self.housekeepers.run(policies.start)
        self._policies = policies
        self.log = await self.housekeepers.run_long(self._open_log)
        await self.housekeepers.run(self._try_policy, policies, self.log)
        self.models.journal = ActivationJournal(
            self.log, self.settings.bundles, self.clock.now, four_eyes=self.settings.four_eyes
        )
        for database in (self.database, self.log.key_store.database):
            database.limit_time(ANSWER_SECONDS)
        self.recorder = self._create_recorder(self.log)
        await self.housekeepers.run_long(self.models.refresh)
        token_keys = await self.housekeepers.run(PageTokenKeys, self.database, self.clock.now)
        tokens = PageTokens(token_keys.usable, self.settings.churn_token_days, clock=self.clock.now)
        self._server = self._build_server(policies, tokens, self.recorder, self.log)
        # If the warm-up fails, the server starts nevertheless, because the failure only makes the first calls slower.
        log = self.log
        await self.background.attempt("warm_up", lambda: self.threads.run(self._warm_up, log))
        self._bind()
        await self.recorder.probe()  # before listening, so that a server with a read-only log never reports SERVING
        await self._server.start()
        await self._update_health()
        self._start_background_tasks(policies, token_keys, self.recorder, log)
        if self.settings.authority is None:
            LOG.warning("callers are not identified and connections are not encrypted; only this machine can connect")
        if not self.settings.bundle_keys:
            LOG.warning("signatures of bundles are not verified, because bundle_keys is empty")
        LOG.info("serving", address=f"{self.settings.host}:{self.port}", policy=policies.current.document.version)

    async def stop(self) -> bool:
        """Drain the server, then close the stores.

        Returns:
            True if all work has ended. False if a thread still waits, for example for a database that has stopped. Such
            a thread has nothing left to acknowledge, so the process can be ended.
        """
        self.anchors.stop()
        await self.background.stop()
        await self._drain(self.settings.drain_seconds_max)
        deadline = asyncio.get_running_loop().time() + _CLOSE_SECONDS
        ended = await self._close_log(deadline)
        self.interceptor.close()
        self.anchors.stop()
        self.graphs.close()  # before the threads, which may wait for an answer of these processes
        self.samples.close()
        self._interrupt_stores()
        if self.endpoint is not None:
            self.endpoint.close()
        for threads in (self.threads, self.batch_threads, self.readers, self.replays, self.housekeepers):
            ended &= threads.close(max(_THREADS_SECONDS_MIN, deadline - asyncio.get_running_loop().time()))
        if ended:
            self._close_stores()
        recorder = self.recorder
        LOG.info("stopped", records=recorder.records if recorder else 0, commits=recorder.commits if recorder else 0)
        return ended

    # Assembly

    def _open_endpoint(self) -> None:
        """Open the endpoint for probes and metrics, if one is configured.

        Raises:
            PortInUse: The endpoint cannot listen on its address.
        """
        if self.settings.metrics_address is None:
            return
        loop = asyncio.get_running_loop()

        def is_alive() -> bool:
            """Return whether the event loop responds."""
            responded = threading.Event()
            loop.call_soon_threadsafe(responded.set)
            return responded.wait(_ALIVE_SECONDS)

        sources = ProbeSources(is_alive, self._health.readiness, lambda: generate_latest(self.meters.registry))
        self.endpoint = MonitoringEndpoint(self.settings.metrics_address, sources)
        LOG.info("monitoring", address=self.endpoint.address)

    def _measured_parts(self, limits: CallLimits) -> ServerParts:
        """Return the parts of the server whose state the metrics contain."""
        settings = self.settings

        def policy() -> tuple[str, str] | None:
            """Return version and SHA-256 of the policy in force; None while the server starts."""
            if self._policies is None:
                return None
            return self._policies.current.document.version, self._policies.current.sha256

        certificates = {"tls_certificate": settings.tls_certificate, "tls_client_ca": settings.tls_client_ca}
        return ServerParts(
            limits=limits,
            recorder=lambda: self.recorder,
            pools={
                "loan_desk": self.threads,
                "batches": self.batch_threads,
                "readers": self.readers,
                "replays": self.replays,
            },
            tasks=lambda: self.background.statuses | self._recording.statuses,
            models=lambda: self.models.current,
            policy=policy,
            anchors=lambda: self.anchors,
            certificates={name: path for name, path in certificates.items() if path is not None},
        )

    def _measure_stores(self, log: RecordLog) -> None:
        """Read the figures of the databases for the metrics."""
        self.measurements.figures = read_store_figures(self.database, log.key_store.database)

    def _open_log(self) -> RecordLog:
        """Open the record log with its key files. If neither log nor key files exist, create both.

        Listed erasures that the log lost in a restore are applied before the server answers a call.
        """
        log = open_log(self.database, KeyLocations.from_settings(self.settings), self.clock)
        try:
            fill_families(self.database)
            if count := apply_listed_erasures(log, self.clock.now):
                LOG.warning(
                    "erasures applied again", count=count, problem="the databases were restored from older copies"
                )
        except BaseException:
            log.close()
            raise
        self._warn_if_idle()
        return log

    def _try_policy(self, policies: PolicyRegistry, log: RecordLog) -> None:
        """Activate the policy. If the log accepts no record now, nothing is decided until a later attempt succeeds.

        The server starts nevertheless, so that its health states the problem, and evidence can be read.
        """
        try:
            self._put_policy_in_force(policies, log)
        except StoreUnavailable as error:
            LOG.error("policy not in force", problem=str(error), version=policies.current.document.version)

    def _put_policy_in_force(self, policies: PolicyRegistry, log: RecordLog) -> None:
        """Record the activation of the policy, if it comes from the file and is not recorded yet.

        Raises:
            PolicyRefused: No policy was approved, although the configuration requires an approval.
            StoreUnavailable: The activation could not be recorded or read, so nothing may be decided under the policy.
        """
        if not policies.current.activation_id:
            if self.settings.four_eyes:
                raise PolicyRefused(
                    "no policy is in force, and four_eyes requires an approval: run `activate-policy`, and let a second person run "
                    "`approve`"
                )
            is_worker = self._peers is not None
            activate_policy_of_file(log, policies.current, self.clock.now(), only_first=is_worker)
        if not policies.refresh().activation_id:
            raise StoreUnavailable("the activation of the policy cannot be read; try again")

    def _warn_if_idle(self) -> None:
        """Log a warning if the newest record is so old that the clock may be far ahead."""
        with self.database.reading() as connection:
            newest = read_newest_record(connection)
        if problem := self.clock.idle_problem(newest[0] if newest else None):
            LOG.warning("clock may be wrong", problem=problem)

    def _create_recorder(self, log: RecordLog) -> Recorder:
        """Create the recorder."""
        return Recorder(log, self._update_health, self.idle_probe_seconds, meters=self.meters)

    def _build_server(
        self, policies: PolicyRegistry, tokens: PageTokens, recorder: Recorder, log: RecordLog
    ) -> grpc.aio.Server:
        """Build the gRPC server with every service."""
        server = self._create_server()
        features = FeatureStore(self.database)
        clock = self.clock.now
        maker = DecisionMaker(self.models, policies, features, log, self.meters, clock)
        bundles = BundleCaches(self.settings.bundles, self.graphs, self.models.find_serving)
        sources = ReplaySources(bundles.for_family(CREDIT_FAMILY), PolicyStore(self.database), features)
        credit = CreditServicer(
            maker=maker,
            features=features,
            recorder=recorder,
            events=DecisionEvents(log, EventRecorder(log, recorder, self.threads, clock)),
            threads=self.threads,
            history=CustomerHistory(log, tokens, self.threads),
            batches=DecisionBatches(maker, recorder, self.batch_threads, clock, self.interceptor.refusals.count),
            write_notice=NoticeWriter(log, sources, self.replays).write,
        )
        predictions = PredictionStore(self.database)
        contacts = ContactRecorder(log, predictions, EventRecorder(log, recorder, self.readers, clock))
        churn = ChurnServicer(
            predictions=predictions,
            changes=ChangeStore(self.database),
            tokens=tokens,
            threads=self.readers,
            contacts=contacts,
            contact_history=ContactHistory(log, tokens, self.readers),
        )
        audit = self._build_audit_servicer(sources, bundles, tokens, recorder, log)
        models = ModelServicer(self.models, self.settings.bundles, self.readers)
        credit_pb2_grpc.add_CreditServiceServicer_to_server(credit, server)
        churn_pb2_grpc.add_ChurnServiceServicer_to_server(churn, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(audit, server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self.settings.reflection:
            add_reflection((_AUDIT, _CREDIT, _CHURN, _MODEL, health.SERVICE_NAME), server)
        return server

    def _create_server(self) -> grpc.aio.Server:
        """Create the gRPC server without any service."""
        # Without workers, a second server on this port is a mistake, not load balancing.
        options = server_options(self.settings, shares_port=self._peers is not None)
        return grpc.aio.server(interceptors=[self.interceptor], options=options)

    def _build_audit_servicer(
        self, sources: ReplaySources, bundles: BundleCaches, tokens: PageTokens, recorder: Recorder, log: RecordLog
    ) -> AuditServicer:
        """Build AuditService: evidence, replays and search, for decisions and for churn predictions."""
        proofs, policies, threads = ProofReader(self.database), PolicyStore(self.database), self.readers
        rows = RunEvidenceReader(log)
        readings, messages = ReadingRecorder(recorder, clock=self.clock.now), BundleEvidenceCache(self.models)
        return AuditServicer(
            records=StoredRecords(proofs, threads, self.interceptor.priority),
            decision_evidence=DecisionEvidenceReader(
                readings=readings, log=log, proofs=proofs, policies=policies, bundles=messages, threads=threads
            ),
            decision_replayer=DecisionReplayer(
                readings=readings,
                log=log,
                proofs=proofs,
                sources=sources,
                threads=self.replays,
            ),
            decision_search=DecisionSearch(
                log=log,
                readings=readings,
                decisions=DecisionIndex(self.database),
                samples=self.samples,
                proofs=proofs,
                tokens=tokens,
                threads=threads,
                priority=self.interceptor.priority,
            ),
            churn_evidence=ChurnEvidenceReader(
                readings=readings, rows=rows, proofs=proofs, bundles=messages, threads=threads
            ),
            churn_replayer=ChurnReplayer(
                readings=readings, rows=rows, proofs=proofs, bundles=bundles, threads=self.replays
            ),
            operations=OperationHistory(log, tokens, threads),
        )

    def _warm_up(self, log: RecordLog) -> None:
        """Run the work of a call once, so that the first call is as fast as later ones."""
        compile_validation_rules(SERVICES)
        serving = self.models.current.serving.items()
        schemas = [model.bundle.schema for (family, _), model in serving if family == CREDIT_FAMILY]
        warm_up(log, FeatureStore(self.database), schemas[:1])  # all schemas share one statement

    def _bind(self) -> None:
        """Bind the server to its address.

        Raises:
            PortInUse: Another process listens on the port.
        """
        address = f"{self.settings.host}:{self.settings.port}"
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise PortInUse(
                f"cannot listen on {address}: another process listens there; configure another port"
            ) from error

    # Health and background tasks

    async def _update_health(self) -> None:
        """Set the health status of every service, and of the server as a whole, whose name is the empty string.

        CreditService and the server are SERVING while a credit model is active and records can be written. The other
        services are always SERVING: if the database does not answer, each of their calls fails with STORE_UNAVAILABLE.
        With several workers, CreditService is SERVING only while this is true in every worker, because a caller cannot
        choose its worker.
        Each background task has a status of its own, such as background.catalog.
        """
        writable = self.recorder is not None and self.recorder.writable
        can_score = writable and bool(self.models.current.markets(CREDIT_FAMILY))
        if self._peers is not None:
            self._peers.report(serving=can_score)
            can_score = can_score and self._peers.all_serving()
        credit = _SERVING if can_score else _NOT_SERVING
        statuses = {_AUDIT: _SERVING, _CREDIT: credit, _CHURN: _SERVING, _MODEL: _SERVING, "": credit}
        tasks = self.background.statuses | self._recording.statuses
        statuses |= {f"background.{name}": _SERVING if task.healthy else _NOT_SERVING for name, task in tasks.items()}
        for service, status in statuses.items():
            await self._health.set(service, status)

    def _start_background_tasks(
        self, policies: PolicyRegistry, token_keys: PageTokenKeys, recorder: Recorder, log: RecordLog
    ) -> None:
        """Start recording, reloading, anchoring, building header chunks, and watching over the background tasks."""
        settings, repeat, run = self.settings, self.background.repeat, self.housekeepers.run
        run_long = self.housekeepers.run_long  # opening a model takes seconds
        self._recording.repeat("recorder", recorder.step, seconds=0, until=lambda: recorder.is_finished)
        reload = settings.reload_seconds
        repeat("catalog", lambda: self._reload(run_long(self.models.refresh)), seconds=reload, delay=reload)
        repeat("policy", lambda: run_long(self._put_policy_in_force, policies, log), seconds=reload, delay=reload)
        repeat(
            "refusals",
            lambda: self.interceptor.refusals.record(recorder),
            seconds=REFUSAL_SECONDS,
            delay=REFUSAL_SECONDS,
        )
        repeat("token_keys", lambda: run(token_keys.refresh), seconds=reload, delay=reload)
        repeat("anchor", lambda: run_long(self.anchors.push), seconds=settings.anchor_seconds)
        repeat("header_chunks", self.chunker.build_missing_chunks, seconds=self.header_chunk_seconds)
        if self.endpoint is not None:
            repeat("measurements", lambda: run(self._measure_stores, log), seconds=MEASURE_SECONDS)
        if self._tls is not None:
            repeat("certificates", self._check_certificates, seconds=_CERTIFICATE_SECONDS)
        if self._peers is not None:
            repeat("worker_status", self._update_health, seconds=_PEER_SECONDS)
        # The delay keeps the start of the worker from competing with the first calls for the processor.
        repeat(
            "standby_worker",
            lambda: run(self.samples.start_standby),
            seconds=self.standby_seconds,
            delay=self.standby_delay_seconds,
        )
        repeat("health", self._watch_tasks, seconds=_WATCH_SECONDS)

    async def _check_certificates(self) -> None:
        """Log each certificate that has expired or expires soon."""
        for setting, path in self.measurements.parts.certificates.items():
            days = (certificate_end(path) - time.time()) / _DAY_SECONDS
            if days < 0:
                LOG.error(
                    "certificate expired", setting=setting, path=str(path), hint="callers cannot connect: renew it"
                )
            elif days < _CERTIFICATE_DAYS:
                LOG.warning("certificate expires soon", setting=setting, path=str(path), days=round(days, 1))

    async def _reload(self, refresh: Awaitable[object]) -> None:
        """Reload the catalog. If the reload fails, the current models continue to serve."""
        await refresh
        await self._update_health()

    async def _watch_tasks(self) -> None:
        """Look for background tasks that hang, and update the health status."""
        for tasks in (self.background, self._recording):
            await tasks.check_stalled()
        await self._update_health()

    # Drain

    async def _drain(self, seconds: float) -> None:
        """Stop the server without dropping a call, unless the time limit is reached.

        When gRPC stops, it cancels calls that have arrived but have not begun. Therefore the drain waits
        until no more calls arrive. First, health reports NOT_SERVING, and the server still answers calls. Then the
        server rejects new calls with DRAINING, because some callers ignore the health status.

        Args:
            seconds: Time limit for the whole drain, in seconds. Callers have half of the time to stop sending calls,
                calls in progress have a quarter to end, and gRPC has a quarter to stop.
        """
        await self._health.enter_graceful_shutdown()
        if self._peers is not None:
            self._peers.leave()
        await self.interceptor.wait_until_idle(_IDLE_SECONDS, seconds / 2)
        self.interceptor.draining = True
        await self.interceptor.wait_until_idle(_IDLE_SECONDS, seconds / 4)
        await self._server.stop(seconds / 4)

    async def _close_log(self, deadline: float) -> bool:
        """Write the entries in the recorder's queue, and push the last checkpoint.

        Returns:
            True if all entries were written in time. Otherwise, the checkpoint is not pushed.
        """
        if self.recorder is None:
            return True
        recorder = self.recorder
        await self.background.attempt("refusals", lambda: self.interceptor.refusals.record(recorder))
        ended = await self.recorder.close(deadline - asyncio.get_running_loop().time())
        await self._recording.stop()
        if ended:
            await self.background.attempt(
                "anchor", lambda: self._push_last(deadline - asyncio.get_running_loop().time())
            )
        return ended

    async def _push_last(self, seconds: float) -> bool:
        """Push the last checkpoint, for at most `seconds`. Return whether it reached every anchor."""
        async with asyncio.timeout(seconds):
            return await self.housekeepers.run(self.anchors.push, seconds - _THREADS_SECONDS_MIN)

    def _interrupt_stores(self) -> None:
        """End the waits of threads for PostgreSQL. At this time, every call has received its answer or its error."""
        self.database.interrupt()
        if self.log is not None:
            self.log.key_store.database.interrupt()

    def _close_stores(self) -> None:
        """Close the log and the database. Call this only after every thread that used a connection has ended."""
        if self.log is not None:
            self.log.close()
        self.database.close()


async def serve(settings: Settings, peers: Peers | None = None, stop_descriptor: int | None = None) -> bool:
    """Serve until SIGTERM or SIGINT, then drain and stop.

    Args:
        settings: The settings.
        peers: All workers that share the port, this server included; None if the server has the port for itself.
        stop_descriptor: File descriptor that becomes readable when the server must stop as after SIGTERM. None if only
            signals stop the server.

    Returns:
        Whether all work has ended; see Application.stop.
    """
    freeze_startup_objects()
    application = Application(settings, peers)
    await application.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_descriptor is not None:
        loop.add_reader(stop_descriptor, stop.set)
    await stop.wait()
    if stop_descriptor is not None:
        loop.remove_reader(stop_descriptor)
    LOG.info("draining")
    return await application.stop()
