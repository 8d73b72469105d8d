"""The upgrade of the table of runs keeps every run, with the family that its manifest states."""

import sqlalchemy

from server.stores.database import Database
from server.stores.runs.predictions import PredictionStore
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import ChurnFamily
from tests.server.loading import load_file

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
