"""Hashes that are read for one tree also prove a record in later trees, so evidence reads the database only once."""

import random
from pathlib import Path

from sqlalchemy import select

from grounds_record.merkle import EMPTY_ROOT, Frontier, verify_inclusion
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader, inclusion_from_hashes
from server.stores.tables import LOG_HEAD, RECORDS
from tests.conftest import Serving
from tests.server.audits import read_evidence, score_customer
from tests.server.record_logs import entry, open_test_log

SIZE = 600


def frontiers_of(log: RecordLog) -> tuple[list[bytes], list[Frontier]]:
    """Return the leaf hashes, and the frontier of every tree size."""
    with log.database.reading() as connection:
        nodes = connection.execute(select(RECORDS.c.nodes).order_by(RECORDS.c.record_index)).scalars()
        leaves = [bytes(each[:32]) for each in nodes]
    frontiers = [Frontier()]
    for leaf in leaves:
        frontiers.append(frontiers[-1].append(leaf)[0])
    return leaves, frontiers


def test_inclusion_hashes_prove_a_record_in_later_trees_or_are_reported_as_insufficient(
    database_url: str, tmp_path: Path
) -> None:
    draw = random.Random(3)  # noqa: S311 - the same numbers in every run
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry() for _ in range(SIZE)])
        leaves, frontiers = frontiers_of(log)
        proofs, proved = ProofReader(log.database), 0
        for _ in range(400):
            index, size, later = sorted((draw.randrange(SIZE), draw.randint(1, SIZE), draw.randint(1, SIZE)))
            hashes = proofs.read_inclusion_hashes(index, frontiers[size])
            proof = inclusion_from_hashes(frontiers[later], index, hashes) if index < later else None
            if proof is not None:
                verify_inclusion(index, later, leaves[index], proof, frontiers[later].root())
                proved += 1
        assert proved > 100

        for index, size in ((draw.randrange(size), size) for size in range(1, SIZE + 1)):
            whole = inclusion_from_hashes(frontiers[size], index, proofs.read_inclusion_hashes(index, frontiers[size]))
            assert whole is not None, "in the same tree nothing is missing"
            verify_inclusion(index, size, leaves[index], whole, frontiers[size].root())

        early = proofs.read_inclusion_hashes(7, frontiers[300])
        assert all(inclusion_from_hashes(frontiers[later], 7, early) is not None for later in range(300, 512))
        assert inclusion_from_hashes(frontiers[512], 7, early) is None, "records 256 to 511 had not been completed"
        assert inclusion_from_hashes(frontiers[513], 7, early) is None


def test_a_record_outside_of_the_tree_has_no_inclusion_hashes(database_url: str, tmp_path: Path) -> None:
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry()])
        assert log.last_frontier.root() != EMPTY_ROOT
        assert ProofReader(log.database).read_inclusion_hashes(0, Frontier()) == {}
        assert ProofReader(log.database).read_inclusion_hashes(1, log.last_frontier) == {}
        assert [inclusion_from_hashes(log.last_frontier, index, {}) for index in (-1, 1, 1000)] == [None] * 3


async def test_the_checkpoint_of_evidence_equals_the_committed_one(serving: Serving) -> None:
    decision = await score_customer(serving)
    for _ in range(3):
        found = await read_evidence(serving, decision.record_ref.decision_id)

        with serving.application.database.reading() as connection:
            committed = connection.execute(select(LOG_HEAD)).one()
        assert (found.proof.checkpoint, found.proof.tree_size) == (committed.checkpoint, committed.size)
        assert found.verifier_key == committed.verifier_key
        assert found.reading.index == committed.size - 1


async def test_evidence_is_proved_before_the_first_append_of_a_server(serving: Serving) -> None:
    decision = await score_customer(serving)
    log = serving.application.log
    assert log is not None
    log.last_frontier = Frontier()  # the state after a start

    found = await read_evidence(serving, decision.record_ref.decision_id)

    assert found.proof.tree_size == found.reading.index + 1 == 5  # after three records of the start and the decision
    assert len(found.proof.hashes) == 3
