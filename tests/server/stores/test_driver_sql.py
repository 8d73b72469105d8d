"""Statements that run through the driver's cursor store the same values as SQLAlchemy's, and raise its errors."""

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.driver_sql import insert_rows, marks, pad_values, run_sql
from server.stores.tables import SERVER_KEYS


def rows(count: int) -> list[dict[str, object]]:
    """Return rows of SERVER_KEYS."""
    return [{"name": f"key {number} 'ä'", "key": bytes([number, 0, 255])} for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 16, 17, 31, 100])
def test_any_number_of_rows_is_inserted_and_read_back(database: Database, count: int) -> None:
    with database.writing() as connection:
        insert_rows(connection, SERVER_KEYS, rows(count))
    names = pad_values([row["name"] for row in rows(count)] or ["none"])
    with database.reading() as connection:
        found = run_sql(connection, f"SELECT name, key FROM server_keys WHERE name IN {marks(len(names))}", names)
        by_driver = sorted((name, bytes(key)) for name, key in found.fetchall())
        by_sqlalchemy = sorted((row.name, bytes(row.key)) for row in connection.execute(select(SERVER_KEYS)))

    assert by_driver == by_sqlalchemy == sorted((row["name"], row["key"]) for row in rows(count))


def test_values_are_padded_to_a_power_of_two() -> None:
    assert [len(pad_values(list(range(count)))) for count in (1, 2, 3, 4, 5, 9, 256)] == [1, 2, 4, 4, 8, 16, 256]
    assert pad_values([1, 2, 3]) == [1, 2, 3, 3]


def test_a_violated_constraint_is_an_integrity_error_without_values(database: Database) -> None:
    secret = [{"name": "a secret name", "key": b"1"}]
    with database.writing() as connection:
        insert_rows(connection, SERVER_KEYS, secret)

    with pytest.raises(IntegrityError) as caught, database.writing() as connection:
        insert_rows(connection, SERVER_KEYS, secret)

    assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.orig!r} {caught.value.__cause__!r}"


def test_a_failed_statement_makes_the_store_unavailable_and_the_transaction_is_rolled_back(database: Database) -> None:
    def fail() -> None:
        with database.writing() as connection:
            insert_rows(connection, SERVER_KEYS, rows(3))
            run_sql(connection, "SELECT nothing FROM nowhere")

    with pytest.raises(StoreUnavailable) as caught:
        fail()
    with database.reading() as connection:
        left = connection.execute(select(SERVER_KEYS)).all()

    assert isinstance(caught.value.__cause__, SQLAlchemyError)
    assert left == []


def test_a_connection_that_the_server_closed_is_not_used_again(database: Database) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no server that closes connections")
    closed = []
    event.listen(database.engine, "invalidate", lambda *_: closed.append(1))
    with pytest.raises(StoreUnavailable), database.reading() as connection:
        run_sql(connection, "SELECT pg_terminate_backend(pg_backend_pid())")

    with database.reading() as connection:
        assert run_sql(connection, "SELECT 1").fetchone() == (1,)
    assert closed
