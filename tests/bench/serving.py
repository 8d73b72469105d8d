"""Benchmark of serving: our server against plain servers of the same contract, interleaved; every answer is checked."""

import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow.parquet as pq
from google.type.money_pb2 import Money

import demo
from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from models.bundle import Bundle, read_bundle
from models.scorecard import log_odds_from_margin
from models.tolerances import LOG_ODDS_TOLERANCE
from tests.bench.load_generator import Answered, generate_load
from tests.bench.plain_servers import EMPTY, METHOD, PRED_CONTRIB, SHAP
from tests.bench.record import databases, log_events, prepare_server
from tests.bench.stages import measure_stages
from tests.conftest import ROOT

OURS = "Grounds"
PLAIN = (EMPTY, PRED_CONTRIB, SHAP)
STORES = ("SQLite", "PostgreSQL")
IN_FLIGHT = (1, 8, 32, 128)
STAGE_REQUESTS = 400
_WARM_UP_SECONDS = 1.0
_SYNCS = 200  # fsyncs that are timed
_SYNC_BYTES = 20_000  # about what a commit of one decision writes
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one server under one load.

    Attributes:
        a_second: Decisions per second.
        cpu_ms: CPU time of the server process per decision, in milliseconds.
        milliseconds: Latency of each decision, as its caller measures it.
    """

    a_second: float
    cpu_ms: float
    milliseconds: list[float]


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one server in one round.

    Attributes:
        loads: The loads by number of calls in flight.
        commits: Commits per decision by database; empty for a server without a database.
    """

    loads: dict[int, Load]
    commits: dict[str, float]


class AnswerCheck:
    """Checks answers against the margins that LightGBM computes, and against the definition of an explanation."""

    def __init__(self, bundle: Bundle, booster: lightgbm.Booster, features: Path) -> None:
        table = pq.read_table(features).to_pandas()
        self.customers: list[str] = table["customer_id"].sample(frac=1, random_state=0).to_list()
        margins = booster.predict(table[list(bundle.schema.names)].to_numpy(dtype=np.float64), raw_score=True)
        self._log_odds = {
            customer: log_odds_from_margin(bundle.scorecard, margin)
            for customer, margin in zip(table["customer_id"], np.asarray(margins).tolist(), strict=True)
        }

    def requests(self) -> Iterator[bytes]:
        """Yield requests for all customers in random order, again and again; each has a new request_id."""
        for customer in itertools.cycle(self.customers):
            yield pb.ScoreCreditRequest(
                request_id=str(uuid.uuid4()),
                customer=Customer(market="TW", customer_id=customer),
                requested_amount=Money(units=100_000, currency_code="TWD"),
            ).SerializeToString()

    def check(self, answers: Sequence[Answered], *, explained: bool, points: bool) -> None:
        """Check that every margin is equal bit for bit.

        Args:
            answers: The answers of one server.
            explained: Whether to check that the contributions add up.
            points: Whether to check that the points add up.
        """
        for answer in answers:
            decision = pb.ScoreCreditResponse.FromString(answer.content).credit_decision
            output, explanation = decision.assessment.model_output, decision.assessment.explanation
            assert output.log_odds == self._log_odds[decision.customer.customer_id], "the margin differs"
            total = explanation.base_value + sum(part.log_odds for part in explanation.contributions)
            assert not explained or abs(total - output.log_odds) <= LOG_ODDS_TOLERANCE, (
                "the contributions do not add up"
            )
            total = explanation.base_points + sum(part.points for part in explanation.contributions)
            assert not points or total == output.score, "the points do not add up"


def measure_serving(
    bundle_folder: Path,
    features: Path,
    seconds: float,
    rounds: int,
    in_flight: Sequence[int] = IN_FLIGHT,
    stores: Sequence[str] = STORES,
) -> dict[str, Any]:
    """Measure all servers, interleaved; return the results by server.

    Args:
        bundle_folder: Folder of the released credit bundle.
        features: Feature file with all customers.
        seconds: Duration of each load.
        rounds: Number of rounds.
        in_flight: Numbers of calls in flight.
        stores: Databases of our server.
    """
    booster = lightgbm.Booster(model_str=(bundle_folder / "model.txt").read_text(encoding="utf-8"))
    check = AnswerCheck(read_bundle(bundle_folder), booster, features)
    found: dict[str, list[Round]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as exit_stack:
        commands: dict[str, tuple[str, ...]] = {
            kind: ("tests.bench.plain_servers", kind, str(bundle_folder), str(features)) for kind in PLAIN
        }
        opened = databases(Path(name))
        exit_stack.callback(opened.close)
        # `zip` leaves the iterator suspended after the last database, so PostgreSQL runs until the end of the block.
        for _, (kind, url) in zip(STORES, opened, strict=False):
            if kind not in stores:
                continue
            folder = Path(name) / kind
            folder.mkdir()
            config = prepare_server(folder, url, bundle_folder, features)
            commands[f"{OURS}, {kind}"] = ("tests.bench.counting_server", str(config))
        for number in range(rounds):
            # Reverse the order in every second round, so that a machine that becomes slower slows all servers alike.
            for server in list(commands)[:: -1 if number % 2 else 1]:
                log = Path(name) / "server.log"
                found.setdefault(server, []).append(_run_server(commands[server], log, check, seconds, in_flight))
        requests = list(itertools.islice(check.requests(), STAGE_REQUESTS))
        stages = measure_stages(Path(name) / stores[0] / "config.toml", requests)
        syncs = time_syncs(Path(name))
    servers = {server: _summary(of) for server, of in found.items()}
    return {"servers": servers, "stages": stages, "fsync_ms": syncs, "rounds": rounds, "seconds": seconds}


def _run_server(
    command: tuple[str, ...], log: Path, check: AnswerCheck, seconds: float, in_flight: Sequence[int]
) -> Round:
    """Start a server, measure each load, and stop the server."""
    with log.open("w") as lines:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stderr=lines)
    requests, ours = check.requests(), command[0].endswith("counting_server")
    loads, decisions = {}, 0
    try:
        address = demo.wait_for_address(process, log)
        for count in (0, *in_flight):  # the first load warms up
            before, duration = cpu_seconds(process.pid), seconds if count else _WARM_UP_SECONDS
            answers = generate_load(address, METHOD, requests, in_flight=count or max(in_flight), seconds=duration)
            cpu_ms = (cpu_seconds(process.pid) - before) / len(answers) * 1e3
            decisions += len(answers)
            if EMPTY not in command:
                # shap compares values in single precision, so its contributions miss the margin by up to 0.1.
                check.check(answers, explained=SHAP not in command, points=ours)
            if count:
                loads[count] = Load(len(answers) / duration, cpu_ms, [each.milliseconds for each in answers])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(demo.START_SECONDS_MAX)
    counted = next((event for event in log_events(log) if event["event"] == "counted"), {})
    commits = {name: counted[f"{name}_commits"] / decisions for name in ("log", "key")} if counted else {}
    return Round(loads, commits)


def cpu_seconds(process_id: int) -> float:
    """Return the CPU time of a process in seconds, of all its threads, in user and system mode."""
    # The name of the program, the second field, is in parentheses and may contain spaces.
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def time_syncs(folder: Path) -> float:
    """Return the median time of an fdatasync after appending 20 KB to a file, in milliseconds."""
    took = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(_SYNC_BYTES))
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(took)


def _summary(rounds: list[Round]) -> dict[str, Any]:
    """Return the medians over the rounds, by calls in flight."""
    loads = {}
    for count in rounds[0].loads:
        of = [each.loads[count] for each in rounds]
        latencies = [milliseconds for load in of for milliseconds in load.milliseconds]
        loads[str(count)] = {
            "a_second": statistics.median(load.a_second for load in of),
            "a_second_by_round": [round(load.a_second, 1) for load in of],
            "cpu_ms": statistics.median(load.cpu_ms for load in of),
            "cpu_ms_by_round": [round(load.cpu_ms, 4) for load in of],
            "p50_ms": float(np.quantile(latencies, 0.5)),
            "p99_ms": float(np.quantile(latencies, 0.99)),
            "decisions": len(latencies),
        }
    commits = {name: statistics.median(each.commits[name] for each in rounds) for name in rounds[0].commits}
    return {"loads": loads, "commits_per_decision": commits}
