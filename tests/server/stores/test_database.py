"""Tables, migrations, features and shared keys, on SQLite and PostgreSQL."""

import datetime as dt
import math
import struct
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError, OperationalError

from models.schema import Schema
from server.errors import DatabaseRefused, StoreUnavailable
from server.stores.database import Database, after_commit
from server.stores.features import FeatureStore, append_features
from server.stores.float_arrays import pack_doubles, unpack_doubles
from server.stores.tables import METADATA, RUNS, SERVER_KEYS
from tests.small import SmallFamily

AWKWARD = (0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, math.pi * 1e-300)
NOW = dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)


def bits(values: tuple[float, ...]) -> bytes:
    """Return doubles as bytes, to compare them bit by bit."""
    return struct.pack(f"<{len(values)}d", *values)


@given(st.lists(st.floats(allow_nan=False), max_size=50))
def test_packed_doubles_are_unpacked_bit_for_bit(values: list[float]) -> None:
    assert bits(unpack_doubles(pack_doubles(values))) == bits(tuple(values))


def test_a_missing_value_is_packed_as_nan_and_not_as_zero() -> None:
    kept = unpack_doubles(pack_doubles([None, 0.0]))

    assert math.isnan(kept[0])
    assert kept[1] == 0.0


def test_migrations_create_exactly_the_declared_tables(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, METADATA)
        names = sqlalchemy.inspect(connection)
        keys = {table: names.get_pk_constraint(table) for table in METADATA.tables}

    assert differences == []
    for table, key in keys.items():
        assert key["constrained_columns"] == [column.name for column in METADATA.tables[table].primary_key]


def test_two_servers_that_start_together_on_an_empty_database_both_start(database_url: str) -> None:
    """The second server starts when the first has created the tables but not yet committed."""
    first, second = Database(database_url), Database(database_url)
    made, go_on = threading.Event(), threading.Event()

    def pause(_connection: object) -> None:
        made.set()
        go_on.wait(10)

    event.listen(first.engine, "commit", pause)
    event.listen(second.engine, "connect", lambda *_: threading.Timer(0.4, go_on.set).start())
    with ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(first.migrate)]
        assert made.wait(10)
        starts.append(pool.submit(second.migrate))
        errors = [start.exception(20) for start in starts]
    tables = set(sqlalchemy.inspect(second.engine).get_table_names())
    first.close()
    second.close()

    assert errors == [None, None]
    assert tables == {*METADATA.tables, "alembic_version"}


def test_doubles_in_their_own_columns_come_back_bit_for_bit(database: Database) -> None:
    """The exception is -0.0, which SQLite stores as 0.0 in a column; packed doubles preserve -0.0."""
    risks = METADATA.tables["risks"]
    times = {"as_of": NOW, "valid_until": NOW, "load_time": NOW}
    run = {"run_number": 1, "run_id": "0" * 32, "market": "DE", "state": "LOADED", "file_sha256": "0" * 64, **times}
    columns = tuple(number for number in AWKWARD if number)
    with database.writing() as connection:
        connection.execute(RUNS.insert().values(**run, customer_count=1, scored_count=1, header="{}"))
        connection.execute(
            risks.insert(),
            [
                {
                    "run_number": 1,
                    "customer_id": f"C{rank}",
                    "status": "SCORED",
                    "hold_out": False,
                    "suppressions": "",
                    "chunk": 0,
                    "log_odds": number,
                    "pd": number,
                    "band": "LOW",
                    "rank": rank,
                    "value_at_risk_minor": 2**62,
                    "drivers": "[]",
                    "features": pack_doubles([number, None]),
                    "contributions": pack_doubles(AWKWARD),
                }
                for rank, number in enumerate(columns)
            ],
        )
    with database.reading() as connection:
        rows = connection.execute(select(risks).order_by(risks.c.rank)).all()

    assert bits(tuple(row.pd for row in rows)) == bits(tuple(row.log_odds for row in rows)) == bits(columns)
    assert {bytes(row.contributions) for row in rows} == {bits(AWKWARD)}
    assert {row.value_at_risk_minor for row in rows} == {2**62}


def test_the_newest_features_of_the_right_feature_set_are_read(database: Database, small: SmallFamily) -> None:
    schema: Schema = small.bundle().schema
    row = {"market": "DE", "customer_id": "C1", "feature_set_digest": schema.feature_set_digest}
    rows = [
        {**row, "as_of": NOW, "row": pack_doubles([3.0, 0.1 + 0.2, None, -0.0])},
        {**row, "as_of": NOW - dt.timedelta(days=1), "row": pack_doubles([9.0, 9.0, 9.0, 9.0])},
        {**row, "as_of": NOW + dt.timedelta(days=1), "feature_set_digest": "0" * 64, "row": pack_doubles([7.0])},
    ]
    with database.writing() as connection:
        assert append_features(connection, rows) == (3, 0)
        assert append_features(connection, rows) == (0, 3)

    stored = FeatureStore(database).find_newest("DE", "C1", schema)

    assert stored is not None
    assert stored.as_of == NOW
    assert stored.values == {"days_late": 3.0, "orders": 0.1 + 0.2, "years": 0.0}
    assert FeatureStore(database).find_newest("FR", "C1", schema) is None


def test_a_key_of_the_database_is_created_once_and_shared(database: Database, database_url: str) -> None:
    again = Database(database_url)

    keys = {database.ensure_key("page_tokens"), again.ensure_key("page_tokens"), database.ensure_key("page_tokens")}
    again.close()

    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert database.ensure_key("another") != database.ensure_key("page_tokens")


FAILURES = (OperationalError("COMMIT", None, Exception("disk I/O error")), MemoryError())


@pytest.mark.parametrize("failure", FAILURES, ids=["database", "process"])
def test_a_transaction_whose_commit_failed_is_not_continued_by_the_next_reader_or_writer(
    database_url: str, failure: Exception
) -> None:
    """The commit fails before the database receives it, so the transaction is still open. The pool has one connection."""
    database = Database(database_url, connections=1)
    database.migrate()
    key = {"name": "k", "key": b"1"}

    def fail(_connection: object) -> None:
        raise failure

    event.listen(database.engine, "commit", fail)
    with pytest.raises((StoreUnavailable, MemoryError)), database.writing() as connection:
        connection.execute(SERVER_KEYS.insert().values(**key))
    event.remove(database.engine, "commit", fail)

    with database.reading(single_statement=True) as connection:  # begins no transaction, so it would join an open one
        assert connection.execute(select(SERVER_KEYS)).all() == []
    with database.writing() as connection:
        connection.execute(SERVER_KEYS.insert().values(**key))
    database.engine.dispose()
    with database.reading() as connection:
        assert len(connection.execute(select(SERVER_KEYS)).all()) == 1
    database.close()


def test_a_function_runs_after_its_commit_even_if_another_thread_uses_the_connection_first(database: Database) -> None:
    ran = []

    def use_again(_connection: object, record: Any) -> None:
        """Register a function, as another thread does that uses the connection before this thread continues."""
        after_commit(record, lambda: ran.append("another transaction"))

    with database.writing() as connection:
        after_commit(connection, lambda: ran.append("this transaction"))
        event.listen(database.engine, "checkin", use_again)
    event.remove(database.engine, "checkin", use_again)

    assert ran == ["this transaction"]


def test_no_database_error_contains_a_value(database: Database, small: SmallFamily) -> None:
    digest = small.bundle().schema.feature_set_digest
    secret = f"C{77_123}"  # assembled, so that this source file does not contain the value
    row = {"market": "DE", "customer_id": secret, "feature_set_digest": digest, "as_of": NOW, "row": secret.encode()}

    def twice() -> None:
        with database.writing() as connection:
            connection.execute(METADATA.tables["features"].insert(), [row, row])

    def nowhere() -> None:
        with database.reading() as connection:
            connection.execute(sqlalchemy.text("SELECT :number FROM nowhere"), {"number": secret})

    def no_number() -> None:
        with database.reading() as connection:
            if connection.dialect.name == "sqlite":
                raise StoreUnavailable("SQLite casts any text to a number, so this case cannot fail there")
            connection.execute(sqlalchemy.text("SELECT CAST(:number AS INTEGER)"), {"number": secret})

    for work, refusal in ((twice, IntegrityError), (nowhere, StoreUnavailable), (no_number, StoreUnavailable)):
        with pytest.raises(refusal) as caught:
            work()
        text = "".join(traceback.format_exception(caught.value))
        assert secret not in text


def test_a_setting_in_the_url_overrides_the_default(postgres: sqlalchemy.Engine) -> None:
    url = postgres.url.update_query_dict({"connect_timeout": "77"})
    database = Database(url.render_as_string(hide_password=False))
    with database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        given = raw.info.get_parameters()
        lock_timeout = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
    database.close()

    assert given["connect_timeout"] == "77"
    assert given["tcp_user_timeout"] == "10000"
    assert lock_timeout == "10s"


def test_tables_of_a_newer_release_are_refused_and_stay_unchanged(database: Database) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(DatabaseRefused, match="revision 9999, which a newer release created"):
        database.migrate()

    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"
