"""A feature file or run file that is older than an erasure does not load the customer again; a newer file does."""

import datetime as dt
from pathlib import Path

from sqlalchemy import select

from server.load.files import LoadResult, load_file
from server.maintenance.erasure import erase_customer
from server.stores.features import utc
from server.stores.tables import FEATURES, RISK_TOMBSTONES, RISKS, RUNS
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import FIRST, SECOND, ChurnFamily, plain_rows, write_run
from tests.server.load.test_files import GOOD, write
from tests.server.loading import KEEP
from tests.server.record_logs import key_locations, open_test_log

AS_OF = GOOD["as_of"].max().to_pydatetime()
WHO = (GOOD["market"].iloc[0], GOOD["customer_id"].iloc[0])


def test_an_erased_customer_is_loaded_only_from_newer_features(database_url: str, tmp_path: Path) -> None:
    path, day = write(tmp_path / "old.parquet", GOOD), dt.timedelta(days=1)
    newer = write(tmp_path / "new.parquet", GOOD.assign(as_of=AS_OF + 2 * day))
    with open_test_log(database_url, tmp_path) as log:
        load_file(log.database, path, LOAD_TIME, key_locations(tmp_path), KEEP)
        erase_customer(log, WHO, "request 7", AS_OF + day)

        again = load_file(log.database, path, LOAD_TIME, key_locations(tmp_path), KEEP)
        with log.database.reading() as connection:
            customers = {tuple(row) for row in connection.execute(select(FEATURES.c.market, FEATURES.c.customer_id))}
        later = load_file(log.database, newer, LOAD_TIME, key_locations(tmp_path), KEEP)

    assert again == LoadResult("features", "credit", 0, 2, 1)
    assert WHO not in customers
    assert len(customers) == 2
    assert later == LoadResult("features", "credit", 3, 0, 0)


def test_customers_erased_since_the_as_of_time_of_a_run_are_skipped_and_counted(
    database_url: str, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    day = dt.timedelta(days=1)
    rows = {
        as_of: plain_rows(churn_family.model, {"C1": 1.0, "C2": 2.0, "C3": None}, as_of) for as_of in (FIRST, SECOND)
    }
    old, newer = (write_run(tmp_path / f"{as_of:%m}.parquet", churn_family.model, rows[as_of]) for as_of in rows)
    features = write(tmp_path / "features.parquet", GOOD)  # contains the customer DE C1
    with open_test_log(database_url, tmp_path) as log:
        load_file(log.database, features, LOAD_TIME, key_locations(tmp_path), KEEP)
        erase_customer(log, ("DE", "C1"), "request 7", FIRST + day)
        with log.database.reading() as connection:
            tombstones = connection.execute(select(RISK_TOMBSTONES)).all()

        loaded = [load_file(log.database, path, LOAD_TIME, key_locations(tmp_path), KEEP) for path in (old, old, newer)]
        with log.database.reading() as connection:
            found = connection.execute(select(RISKS.c.customer_id, RUNS.c.as_of).join_from(RISKS, RUNS)).all()
            counts = connection.execute(select(RUNS.c.customer_count).order_by(RUNS.c.as_of)).scalars().all()

    assert tombstones == [], "no run had the customer, so no copy has"
    assert [(each.added, each.known, each.erased) for each in loaded] == [(2, 0, 1), (0, 2, 1), (3, 0, 0)]
    assert {(row.customer_id, utc(row.as_of)) for row in found if row.customer_id == "C1"} == {("C1", SECOND)}
    assert (len(found), counts) == (5, [2, 3])
