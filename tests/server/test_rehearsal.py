"""What a server does once before it answers: the first caller waits no longer than the next, and nothing of it stays."""

import gc
import itertools
import logging
from pathlib import Path

import pytest
from google.protobuf import message_factory
from sqlalchemy import Connection, select

from server.app import SERVICES
from server.edges.rehearsal import read_rules, rehearse, settle
from server.edges.validation import VALIDATOR
from server.stores.features import FeatureStore
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.proofs import Proofs
from server.stores.tables import LOG_HEAD, RECORDS, TREE_TWIGS
from tests.conftest import Serving
from tests.server.auditing import decide, evidence
from tests.server.logs import entry, opened
from tests.small import SmallFamily


async def test_the_first_decision_and_its_evidence_find_their_statements_put_together(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLAlchemy's log says of each statement whether it was generated or taken from the cache."""
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        decision = await decide(serving)
        await evidence(serving, decision.record_ref.decision_id)

    told = [record.getMessage() for record in caplog.records if record.name.startswith("sqlalchemy.engine")]
    assert sum("[cached since" in line for line in told) >= 8
    made = [before for before, line in itertools.pairwise(told) if "[generated in" in line]
    assert [statement.split(" (")[0] for statement in made] == ["INSERT INTO wrapped_keys"], "the key of a new customer"


def everything(connection: Connection) -> list[object]:
    """Give all that a log has."""
    return [connection.execute(select(table)).all() for table in (RECORDS, LOG_HEAD, TREE_TWIGS)]


@pytest.mark.parametrize("there", [0, 3, 255])
def test_nothing_of_a_rehearsal_stays(database_url: str, tmp_path: Path, small: SmallFamily, there: int) -> None:
    """Also where its record would have completed a stretch of the tree."""
    with opened(database_url, tmp_path) as log:
        log.append([entry() for _ in range(there)])
        with log.database.reading() as connection, log.keys.database.reading() as keys:
            before = everything(connection), keys.execute(select(WRAPPED_KEYS)).all()

        rehearse(log, FeatureStore(log.database), [small.bundle().schema])

        with log.database.reading() as connection, log.keys.database.reading() as keys:
            assert (everything(connection), keys.execute(select(WRAPPED_KEYS)).all()) == before
        log.append([entry() for _ in range(2)])
        records = list(Proofs(log.database).all(there + 2))
        assert [record.index for record in records] == list(range(there + 2))


def test_the_rules_of_every_request_are_put_together() -> None:
    read_rules(SERVICES)

    requests = [message_factory.GetMessageClass(method.input_type) for each in SERVICES for method in each.methods]
    assert len(requests) > 20
    for request in requests:
        assert VALIDATOR.collect_violations(request()) is not None


def test_what_is_there_is_left_out_of_the_search_for_garbage() -> None:
    before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before
        assert len(gc.get_objects()) < gc.get_freeze_count() / 10
    finally:
        gc.unfreeze()
