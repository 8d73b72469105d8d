"""Two servers of one database are killed again and again under load.

Callers repeat a request with the same request_id, on either server, until it is answered. Afterwards the record log has one record
for each request: no answer is lost, duplicated or different when it is asked for again.
"""

import os
import random
import threading
import time
from pathlib import Path

import grpc
import pytest

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc
from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.merkle import verify_consistency, verify_inclusion
from grounds_record.note import VerifierKey
from grounds_record.sealed_record import SealedRecord
from server.config import read_settings
from server.maintenance.doctor import read_verifier_key
from tests.e2e.forked_servers import ForkedServer
from tests.e2e.load import Load, check_answers, check_records, decision_id
from tests.e2e.test_process import free_port

SERVERS = 2
KILLS = 10  # of both servers together


class Killer:
    """Kills one server again and again, and checks each restarted server's record log against that of the killed one.

    Attributes:
        kills: Number of kills.
        while_starting: Number of kills before the server accepted calls.
    """

    def __init__(
        self, server: ForkedServer, verifier: VerifierKey, load: Load, failed: threading.Event, seed: int
    ) -> None:
        self._server, self._verifier, self._load, self._failed = server, verifier, load, failed
        self._random = random.Random(seed)  # noqa: S311 - draws times, not secrets
        self._checkpoint: Checkpoint | None = None
        self.kills = self.while_starting = 0
        self.failure: BaseException | None = None

    def run(self, kills: int) -> None:
        """Kill the server `kills` times, or until a check of any server fails. The server serves at the end."""
        try:
            while self.kills < kills and not self._failed.is_set():
                if self._random.random() < 0.1:
                    time.sleep(self._random.uniform(0, 0.5))
                    self.while_starting += 1
                else:
                    self._server.wait_until_serving()
                    self._check_record_log()
                    time.sleep(self._random.uniform(0, 0.4))
                self._server.kill()
                self.kills += 1
                self._server.start()
            self._server.wait_until_serving()
        except BaseException as error:  # noqa: BLE001 - the thread of the test raises it
            self.failure = error
            self._failed.set()

    def _check_record_log(self) -> None:
        """Check that the record log extends the checkpoint of the server's last life and includes the newest answer."""
        with grpc.insecure_channel(self._server.address) as channel:
            audit = audit_pb2_grpc.AuditServiceStub(channel)
            now = open_checkpoint(audit.GetCheckpoint(audit_pb2.GetCheckpointRequest()).checkpoint, self._verifier)
            if (before := self._checkpoint) is not None and before.size:
                request = audit_pb2.GetConsistencyProofRequest(old_size=before.size, new_size=now.size)
                hashes = tuple(audit.GetConsistencyProof(request).hashes)
                verify_consistency(before.size, now.size, before.root, now.root, hashes)
            self._checkpoint = now
            for answer in list(self._load.answers.values())[-1:]:
                proof = audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(record_id=decision_id(answer)))
                signed = open_checkpoint(proof.checkpoint, self._verifier)
                leaf = SealedRecord(proof.record.header, proof.record.ciphertext).leaf_hash()
                verify_inclusion(proof.record.index, signed.size, leaf, tuple(proof.hashes), signed.root)


def kill_repeatedly(config: Path, kills: int) -> str:
    """Kill two servers under load, check every answer, and return one line of figures."""
    seed = int(os.environ.get("KILL_SEED", random.randrange(2**32)))  # noqa: S311 - draws times, not secrets
    settings, start = read_settings(config), time.monotonic()
    servers = [ForkedServer(config, free_port()) for _ in range(SERVERS)]
    for server in servers:
        server.start()
        server.wait_until_serving()
    verifier = read_verifier_key(settings)
    load = Load([server.address for server in servers])
    failed = threading.Event()
    killers = [Killer(server, verifier, load, failed, seed + number) for number, server in enumerate(servers)]
    try:
        load.start(seed)
        _run_killers(killers, kills // SERVERS)
        load.stop()
        for killer in killers:
            if killer.failure is not None:
                raise AssertionError(f"seed {seed}, after {killer.kills} kills") from killer.failure
        check_answers(servers, load)
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.process.kill()
    check_records(settings, verifier, load)
    assert load.refused == []
    return (
        f"{sum(killer.kills for killer in killers)} kills, {sum(killer.while_starting for killer in killers)} of them during the "
        f"start; {len(load.answers)} answers, {sum(load.errors.values())} failed calls; 0 lost, 0 duplicated, 0 changed; "
        f"{time.monotonic() - start:.0f} s"
    )


def _run_killers(killers: list[Killer], kills: int) -> None:
    """Kill each server `kills` times, all servers at the same time."""
    threads = [threading.Thread(target=killer.run, args=(kills,)) for killer in killers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_two_killed_servers_lose_duplicate_and_change_no_answer(config: Path) -> None:
    assert kill_repeatedly(config, KILLS).startswith(f"{KILLS} kills")


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_two_servers_that_are_killed_a_thousand_times_lose_duplicate_and_change_no_answer(config: Path) -> None:
    print(kill_repeatedly(config, 1000))  # noqa: T201 - the figures of the run
