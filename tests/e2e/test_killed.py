"""A server is killed under load: the record log has every answer that a client received, byte for byte, with a valid proof."""

import random
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc
from grounds.credit.v1 import credit_pb2 as pb
from grounds_record.checkpoint import open_checkpoint
from grounds_record.merkle import verify_consistency, verify_inclusion
from grounds_record.sealed_record import SealedRecord
from server.config import read_settings
from server.maintenance.doctor import check_log, read_verifier_key
from server.stores.database import Database
from tests.e2e.processes import Process, start
from tests.server.requests import customer, numbers, score_request

CALLERS = 6
SCORE, READ = (f"/grounds.credit.v1.CreditService/{name}" for name in ("ScoreCredit", "GetCreditDecision"))


@dataclass
class Load:
    """Concurrent callers that score until the server is killed.

    Attributes:
        address: Host and port of the server.
        answered: The received answers, by the bytes of their requests.
        unanswered: Requests whose calls failed; it is unknown whether the server recorded them.
    """

    address: str
    answered: dict[bytes, bytes] = field(default_factory=dict)
    unanswered: list[bytes] = field(default_factory=list)

    def call_repeatedly(self, number: int) -> None:
        """Score one customer after another until a call fails, as caller `number`."""
        with grpc.insecure_channel(self.address) as channel:
            score = channel.unary_unary(SCORE)
            for count in range(100_000):
                request = score_request(
                    customer=customer("DE", f"C{2 * ((count * CALLERS + number) % 700):05d}"),
                    features=numbers(turnover=1000.0 + count),
                )
                asked = request.SerializeToString()
                try:
                    self.answered[asked] = score(asked, timeout=10)
                except grpc.RpcError:
                    self.unanswered.append(asked)
                    return


def kill_under_load(server: Process, seconds: float) -> Load:
    """Send load to a server, kill it after some seconds, and return the answers that the callers received."""
    load = Load(server.address)
    callers = [threading.Thread(target=load.call_repeatedly, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    timer = threading.Timer(seconds, server.kill)
    timer.start()
    for thread in (timer, *callers):
        thread.join(60)
    return load


def check_answers(server: Process, load: Load, config: Path, random_: random.Random) -> int:
    """Check that the record log has every answer, and verify the inclusion proofs of some of them.

    A repeated request must receive the same answer as before. Return the size of the record log.
    """
    settings = read_settings(config)
    verifier = read_verifier_key(settings)
    with grpc.insecure_channel(server.address) as channel:
        audit, read, score = (
            audit_pb2_grpc.AuditServiceStub(channel),
            channel.unary_unary(READ),
            channel.unary_unary(SCORE),
        )
        ids = {}
        for asked, answer in load.answered.items():
            ids[asked] = pb.ScoreCreditResponse.FromString(answer).credit_decision.record_ref.decision_id
            assert read(pb.GetCreditDecisionRequest(decision_id=ids[asked]).SerializeToString()) == answer
        for asked in random_.sample(list(load.answered), min(5, len(load.answered))):
            assert score(asked) == load.answered[asked]
            proof = audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(record_id=ids[asked]))
            checkpoint = open_checkpoint(proof.checkpoint, verifier)
            leaf = SealedRecord(proof.record.header, proof.record.ciphertext).leaf_hash()
            verify_inclusion(proof.record.index, checkpoint.size, leaf, tuple(proof.hashes), checkpoint.root)
        for asked in load.unanswered:
            assert score(asked) == score(asked)
        return open_checkpoint(audit.GetCheckpoint(audit_pb2.GetCheckpointRequest()).checkpoint, verifier).size


def kill_repeatedly(config: Path, rounds: int) -> None:
    """Kill, restart and check a server several times; each checkpoint must be consistent with the previous one."""
    seed = uuid.uuid4().int % 2**32
    random_, notes, answered = random.Random(seed), [], 0  # noqa: S311 - draws times, not secrets
    settings = read_settings(config)
    server = start(config)
    try:
        for number in range(rounds):
            load = kill_under_load(server, random_.uniform(0.05, 0.8))
            server = start(config, number + 1)
            size = check_answers(server, load, config, random_)
            answered += len(load.answered)
            with grpc.insecure_channel(server.address) as channel:
                audit = audit_pb2_grpc.AuditServiceStub(channel)
                note = audit.GetCheckpoint(audit_pb2.GetCheckpointRequest()).checkpoint
                key = read_verifier_key(settings)
                for old in notes[-1:]:
                    before, now = open_checkpoint(old, key), open_checkpoint(note, key)
                    request = audit_pb2.GetConsistencyProofRequest(old_size=before.size, new_size=now.size)
                    proof = tuple(audit.GetConsistencyProof(request).hashes)
                    verify_consistency(before.size, now.size, before.root, now.root, proof)
                notes.append(note)
    finally:
        server.kill()
    database = Database(settings.database)
    valid, report = check_log(database, read_verifier_key(settings), None)
    database.close()
    assert valid, (seed, report)
    assert size >= answered > 0, seed


def test_the_record_log_has_every_answer_that_a_killed_server_sent(config: Path) -> None:
    kill_repeatedly(config, 5)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_record_log_has_every_answer_after_fifty_kills(config: Path) -> None:
    kill_repeatedly(config, 50)
