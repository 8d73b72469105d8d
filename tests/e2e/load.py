"""Callers that send load to servers which fail, and the checks of everything that they were answered."""

import random
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy

from grounds.credit.v1 import credit_pb2 as pb
from grounds_record.note import VerifierKey
from server.config import Settings
from server.maintenance.doctor import check_log
from server.stores.database import Database
from server.stores.record_log.high_water_mark import HighWaterMark
from tests.e2e.forked_servers import FAST_RECONNECT, ForkedServer
from tests.server.requests import customer, numbers, score_request

CALLERS = 4
SCORE, READ = (f"/grounds.credit.v1.CreditService/{name}" for name in ("ScoreCredit", "GetCreditDecision"))
RETRIED = {
    grpc.StatusCode.UNAVAILABLE,  # the server is down, was killed, or could not record
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


@dataclass
class Load:
    """Callers that score one customer after another, and repeat each request until it is answered.

    Attributes:
        addresses: Host and port of each server.
        answers: The first answer to each request, by the bytes of the request.
        changed: Requests that received another answer when they were asked again.
        errors: Number of failed calls, by gRPC status.
        refused: Statuses that no kill explains.
        unanswered: The last error of each request that is not answered yet.
    """

    addresses: list[str]
    answers: dict[bytes, bytes] = field(default_factory=dict)
    changed: list[bytes] = field(default_factory=list)
    errors: Counter[grpc.StatusCode] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    unanswered: dict[bytes, str] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _hurries: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, seed: int) -> None:
        """Start the callers."""
        for number in range(CALLERS):
            thread = threading.Thread(target=self._call_repeatedly, args=(number, random.Random(seed + number)))  # noqa: S311
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Stop every caller soon, even if its request is not answered."""
        self._hurries.set()
        self._ended.set()

    def stop(self) -> None:
        """Wait until the request in progress of every caller is answered, and stop the callers."""
        self._ended.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), ("a caller waits forever", list(self.unanswered.values()))

    def _call_repeatedly(self, number: int, random_: random.Random) -> None:
        """Score customers as one caller; ask a quarter of the requests again, on a random server."""
        channels = [grpc.insecure_channel(address, options=FAST_RECONNECT) for address in self.addresses]
        methods = [channel.unary_unary(SCORE) for channel in channels]
        count = 0
        while not self._ended.is_set():
            count += 1
            request = score_request(
                customer=customer("DE", f"C{2 * ((count * CALLERS + number) % 700):05d}"),
                features=numbers(turnover=1000.0 + count),
            )
            asked = request.SerializeToString()
            answer = self.answers[asked] = self._ask(methods, asked, random_)
            if random_.random() < 0.25 and self._ask(methods, asked, random_) != answer:
                self.changed.append(asked)
            time.sleep(0.005)
        for channel in channels:
            channel.close()

    def _ask(self, methods: list[Any], asked: bytes, random_: random.Random) -> bytes:
        """Ask a random server until one answers; return the answer."""
        while True:
            if self._hurries.is_set():
                return b""
            try:
                answer = bytes(random_.choice(methods)(asked, timeout=20))
            except grpc.RpcError as error:
                self.errors[error.code()] += 1
                self.unanswered[asked] = f"{error.code().name}: {error.details()}"
                if error.code() not in RETRIED:
                    self.refused.append(str(error.details()))
                time.sleep(0.01)
            else:
                self.unanswered.pop(asked, None)
                return answer


def file_path(location: object) -> Path:
    """Return the path of a key that is a file."""
    assert isinstance(location, Path)
    return location


def decision_id(answer: bytes) -> str:
    """Return the id of the decision in an answer."""
    return pb.ScoreCreditResponse.FromString(answer).credit_decision.record_ref.decision_id


def _recorded_requests(url: str) -> Counter[str]:
    """Return the number of records of each request_id, read with the plain driver."""
    query = "SELECT request_id FROM records WHERE kind = 'CREDIT_DECISION'"
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            return Counter(row[0] for row in connection.execute(query))
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = Counter(row[0] for row in connection.exec_driver_sql(query))
    engine.dispose()
    return found


def check_records(settings: Settings, verifier: VerifierKey, load: Load) -> None:
    """Check that every request has exactly one record, that no answer changed, and that the whole record log verifies."""
    recorded = _recorded_requests(settings.database)
    lost = {pb.ScoreCreditRequest.FromString(asked).request_id for asked in load.answers} - set(recorded)
    duplicated = [request_id for request_id, count in recorded.items() if count > 1]
    assert (lost, duplicated, load.changed) == (set(), [], [])
    assert len(recorded) == len(load.answers), "callers repeated every request until it was answered"
    database = Database(settings.database)
    valid, report = check_log(
        database, verifier, None, HighWaterMark(file_path(settings.signing_key).with_suffix(".mark"))
    )
    database.close()
    assert valid, report


def check_answers(servers: list[ForkedServer], load: Load, count_max: int | None = None) -> None:
    """Ask every request again, and read its decision: both must be equal to the first answer, byte for byte.

    If there are more than `count_max` requests, only so many of them are asked again, drawn at random.
    """
    asked_again = list(load.answers.items())
    if count_max is not None and len(asked_again) > count_max:
        asked_again = random.sample(asked_again, count_max)
    channels = [grpc.insecure_channel(server.address) for server in servers]
    scores, reads = ([channel.unary_unary(method) for channel in channels] for method in (SCORE, READ))
    for number, (asked, answer) in enumerate(asked_again):
        read = pb.GetCreditDecisionRequest(decision_id=decision_id(answer)).SerializeToString()
        again = scores[number % len(servers)](asked, timeout=30), reads[number % len(servers)](read, timeout=30)
        if set(again) != {answer}:
            load.changed.append(asked)
    for channel in channels:
        channel.close()
