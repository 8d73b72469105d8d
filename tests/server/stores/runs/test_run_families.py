"""The upgrade of the table of runs keeps every run, with the family that its manifest states, also if a loader still runs."""

import sqlalchemy

from server.config import Settings
from server.stores.database import Database
from server.stores.runs.predictions import PredictionStore, ScoringRun
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import ChurnFamily
from tests.server.loading import load_file
from tests.server.servers import serve

_BEFORE = (
    "DROP INDEX ix_risks_withheld",
    "ALTER TABLE runs DROP COLUMN family",
    "UPDATE alembic_version SET version_num = '0009'",
)


def test_runs_of_an_earlier_release_get_the_family_of_their_manifest(
    database: Database, churn_family: ChurnFamily
) -> None:
    load_file(database, churn_family.first_run, LOAD_TIME)
    before = PredictionStore(database).find_newest_run("DE")
    with database.engine.begin() as connection:
        for statement in _BEFORE:
            connection.execute(sqlalchemy.text(statement))

    database.migrate()

    assert before is not None
    assert before.family == "churn"
    assert PredictionStore(database).find_newest_run("DE", "churn") == before
    assert [run.family for run in PredictionStore(database).read_newest_runs()] == ["churn", "churn"]


def publish_without_family(database: Database, churn_family: ChurnFamily) -> ScoringRun:
    """Leave the first run as a loader of release 0.1.0 publishes it after the upgrade; return it as it should be read."""
    load_file(database, churn_family.first_run, LOAD_TIME)
    run = PredictionStore(database).find_newest_run("DE")
    assert run is not None
    with database.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE runs SET family = NULL"))
    return run


def test_a_run_that_an_earlier_loader_published_after_the_upgrade_breaks_no_reader(
    database: Database, churn_family: ChurnFamily
) -> None:
    run = publish_without_family(database, churn_family)
    store = PredictionStore(database)

    assert store.read_newest_runs() == []
    assert store.find_newest_run("DE") is None
    assert store.read_run(run.number, "DE") == run  # a copy that has the run continues from it


def test_the_next_load_gives_such_a_run_its_family_and_continues_its_bands(
    database: Database, churn_family: ChurnFamily
) -> None:
    run = publish_without_family(database, churn_family)

    load_file(database, churn_family.second_run, LOAD_TIME)

    store = PredictionStore(database)
    assert store.read_run(run.number, "DE") == run
    newest = store.find_newest_run("DE")
    assert newest is not None
    assert newest.previous_run_id == run.run_id


async def test_a_server_gives_such_a_run_its_family_when_it_starts(churn_settings: Settings) -> None:
    database = Database(churn_settings.database)
    with database.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE runs SET family = NULL"))
    assert PredictionStore(database).read_newest_runs() == []

    async with serve(churn_settings):
        families = [(run.market, run.family) for run in PredictionStore(database).read_newest_runs()]

    database.close()
    assert families == [("DE", "churn"), ("FR", "churn")]
