"""A feature file from before an erasure does not bring the customer back; a newer one may."""

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import select

from server.erase import erase
from server.errors import LoadRefused
from server.load import Loaded, load_file
from server.stores.tables import FEATURES
from tests.conftest import LOAD_TIME
from tests.server.logs import opened, places
from tests.server.test_load import GOOD, write

AS_OF = GOOD["as_of"].max().to_pydatetime()
WHO = (GOOD["market"].iloc[0], GOOD["customer_id"].iloc[0])


def test_who_was_erased_stays_away_until_there_is_something_newer(database_url: str, tmp_path: Path) -> None:
    path, day = write(tmp_path / "old.parquet", GOOD), dt.timedelta(days=1)
    newer = write(tmp_path / "new.parquet", GOOD.assign(as_of=AS_OF + 2 * day))
    with opened(database_url, tmp_path) as log:
        load_file(log.database, path, LOAD_TIME)
        erase(log, WHO, "request 7", AS_OF + day)

        with pytest.raises(LoadRefused, match="name the keys of the log"):
            load_file(log.database, path, LOAD_TIME)
        again = load_file(log.database, path, LOAD_TIME, places(tmp_path))
        with log.database.reading() as connection:
            customers = {tuple(row) for row in connection.execute(select(FEATURES.c.market, FEATURES.c.customer_id))}
        later = load_file(log.database, newer, LOAD_TIME, places(tmp_path))

    assert again == Loaded("features", "credit", 0, 2, 1)
    assert WHO not in customers
    assert len(customers) == 2
    assert later == Loaded("features", "credit", 3, 0, 0)
