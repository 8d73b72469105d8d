"""Puts the server together, starts it, and stops it without dropping a call."""

import asyncio
import contextlib
import datetime as dt
import signal

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from grounds.churn.v1 import churn_pb2, churn_pb2_grpc
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from grounds.model.v1 import model_pb2, model_pb2_grpc
from server.config import Settings
from server.decisions.policies import PolicyWatch
from server.edges.churn import ChurnServicer
from server.edges.credit import FAMILY, CreditServicer
from server.edges.gate import Gate
from server.edges.models import ModelServicer
from server.edges.pages import PageTokens
from server.edges.threads import Threads
from server.stores.changes import ChangeStore
from server.stores.database import Database
from server.stores.decisions import DecisionStore
from server.stores.features import FeatureStore
from server.stores.lineup import LineupWatch
from server.stores.risks import RiskStore

LOG = structlog.get_logger()
CREDIT = credit_pb2.DESCRIPTOR.services_by_name["CreditService"].full_name
CHURN = churn_pb2.DESCRIPTOR.services_by_name["ChurnService"].full_name
MODEL = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
QUIET_SECONDS = 0.1  # no call for so long means that none is on its way


class PortTaken(Exception):
    """Something else listens there."""


class Application:
    """A running server: start, port, stop.

    Raises on `start`: PortTaken, PolicyRefused, StoreUnavailable.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self.database = Database(settings.database)
        self.threads = Threads(settings.store_threads)
        self.lineup = LineupWatch(settings.bundles)
        self.health = health.aio.HealthServicer()
        self.gate = Gate()
        self.watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read policy and models, open the database, listen; health is SERVING where all of it is there."""
        policies = PolicyWatch(self.settings.policy)
        await self.threads.run(self.database.migrate)
        await self.threads.run(self.lineup.refresh)
        key = await self.threads.run(self.database.key, "page_tokens")
        tokens = PageTokens(key, self.settings.churn_token_days, clock=now)
        self.server = self.build(policies, tokens)
        address = f"{self.settings.host}:{self.settings.port}"
        try:
            self.port = self.server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTaken(f"{address} cannot be listened on: another server has it; choose another port") from error
        await self.server.start()
        await self.tell_health()
        self.watching = asyncio.create_task(self.watch(policies))
        LOG.info("serving", address=f"{self.settings.host}:{self.port}", policy=policies.now.document.version)

    def build(self, policies: PolicyWatch, tokens: PageTokens) -> grpc.aio.Server:
        """Make the gRPC server with every service."""
        options = [
            ("grpc.max_receive_message_length", self.settings.request_bytes_max),
            ("grpc.so_reuseport", 0),  # two servers on one port are a mistake, not a fleet
        ]
        server = grpc.aio.server(
            interceptors=[self.gate], options=options, maximum_concurrent_rpcs=self.settings.requests_in_flight_max
        )
        features, decisions = FeatureStore(self.database), DecisionStore(self.database)
        credit = CreditServicer(self.lineup, policies, features, decisions, self.threads, clock=now)
        credit_pb2_grpc.add_CreditServiceServicer_to_server(credit, server)
        churn = ChurnServicer(RiskStore(self.database), ChangeStore(self.database), tokens, self.threads)
        churn_pb2_grpc.add_ChurnServiceServicer_to_server(churn, server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self.lineup), server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if self.settings.reflection:
            names = (CREDIT, CHURN, MODEL, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        return server

    async def tell_health(self) -> None:
        """Say per service whether it can answer; "" is all of them together."""
        credit = SERVING if self.lineup.now.markets(FAMILY) else NOT_SERVING
        for service, status in ((CREDIT, credit), (CHURN, SERVING), (MODEL, SERVING), ("", credit)):
            await self.health.set(service, status)

    async def watch(self, policies: PolicyWatch) -> None:
        """Look at the catalog and the policy again and again; a look that fails changes nothing."""
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            try:
                await self.threads.run(self.lineup.refresh)
            except OSError as error:  # a folder that is just being moved: the next look will see it whole
                LOG.warning("catalog not readable", error=type(error).__name__)
            await self.threads.run(policies.refresh)
            await self.tell_health()

    async def stop(self) -> None:
        """Drain, then close the stores.

        Health says NOT_SERVING first, while calls are still answered, so that callers go elsewhere. gRPC
        cancels calls that have arrived but not begun when it stops; so it is stopped when none arrives.
        """
        if self.watching is not None:
            self.watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.watching
        await self.health.enter_graceful_shutdown()
        seconds = self.settings.drain_seconds_max
        await self.gate.quiet(QUIET_SECONDS, seconds / 2)
        self.gate.draining = True
        await self.gate.quiet(QUIET_SECONDS, seconds / 4)
        await self.server.stop(seconds / 4)
        self.threads.close()
        self.database.close()
        LOG.info("stopped")


def now() -> dt.datetime:
    """Give the time."""
    return dt.datetime.now(dt.UTC)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    application = Application(settings)
    await application.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    LOG.info("draining")
    await application.stop()
