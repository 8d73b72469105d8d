"""The commands erase, hold, release and retain: preview, effect with --apply, and errors."""

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from server.__main__ import app
from server.errors import ErasureRefused, RetentionRefused
from server.maintenance.doctor import find_key_and_run_problems
from server.stores.clock import utc_now
from server.stores.database import Database
from server.stores.record_log.holds import place_hold
from server.stores.tables import RECORDS
from tests.conftest import key_places, key_settings
from tests.e2e.processes import write_config
from tests.server.decisions.test_retention import write_table
from tests.server.record_logs import entry, open_test_log

RunCommand = Callable[..., Result]
OLD = dt.datetime(2001, 3, 1, 12, tzinfo=dt.UTC)
ORIGIN = "grounds.local/log"


@pytest.fixture
def run_command(tmp_path: Path) -> RunCommand:
    """Return a function that runs a command on a log with old decisions of three customers."""
    database = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(database, tmp_path, origin=ORIGIN) as log:
        for number in (1, 2, 2, 3):
            log.append([entry(customer=("DE", f"C{number}"), time=OLD)])
        log.append(
            [entry(kind="EVIDENCE_READING", customer=None, time=utc_now(), request_id="", content=b"")]
        )  # in use
    settings = {"database": database, "retention": write_table(tmp_path), **key_settings(tmp_path)}
    config = write_config(tmp_path / "config.toml", settings)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--config", str(config)])

    return run


def readable(folder: Path) -> int:
    """Return the number of decisions that can be decrypted."""
    with open_test_log(f"sqlite:///{folder / 'log.db'}", folder, origin=ORIGIN) as log:
        assert find_key_and_run_problems(log.database, key_places(folder)) == []
        wanted = select(RECORDS.c.key_id).where(RECORDS.c.kind == "CREDIT_DECISION", RECORDS.c.ciphertext.is_not(None))
        with log.database.reading() as connection:
            keys = connection.execute(wanted).scalars().all()
        there = log.key_store.read_ids()
    return sum(key in there for key in keys)


def test_erase_previews_and_erases_with_apply(run_command: RunCommand, tmp_path: Path) -> None:
    words = ("erase", "DE", "C1", "C2", "--reason", "request 7")

    shown = run_command(*words)
    untouched = readable(tmp_path)
    done = run_command(*words, "--apply")

    assert (shown.exit_code, done.exit_code) == (0, 0), done.output
    assert "DE C2: would erase 1 key(s) that decrypt 2 records" in shown.output
    assert shown.output.endswith("nothing was changed; to erase, add --apply\n")
    assert untouched == 4
    assert "DE C2: erased 1 key(s) that decrypt 2 records" in done.output
    assert readable(tmp_path) == 1


def test_several_customers_are_erased_together_or_not_at_all(run_command: RunCommand, tmp_path: Path) -> None:
    done = run_command("erase", "DE", "C1", "C9", "--reason", "request 7", "--apply")

    assert isinstance(done.exception, ErasureRefused)
    assert "DE C9: the database has no data of this customer" in str(done.exception)
    assert readable(tmp_path) == 4


def test_a_hold_keeps_a_customer_from_erasure_and_retention_until_it_is_released(
    run_command: RunCommand, tmp_path: Path
) -> None:
    held = run_command("hold", "DE", "C1", "--reason", "lawsuit")
    found = re.search(r"python -m server release ([0-9a-f-]{36})", held.output)
    assert found is not None

    refused = run_command("erase", "DE", "C1", "--reason", "request 7", "--apply")
    shown = run_command("retain")
    unconfirmed = run_command("retain", "--apply")
    done = run_command("retain", "--apply", "--confirm-records", "3")
    left = readable(tmp_path)
    released = run_command("release", found[1].upper(), "--reason", "settled")
    rest = run_command("retain", "--apply", "--confirm-records", "1")

    assert isinstance(refused.exception, ErasureRefused)
    assert found[1] in str(refused.exception)
    assert "CREDIT_DECISION: 3 from before" in shown.output
    assert "; 1 more are under a legal hold" in shown.output
    assert "nothing was changed; to remove the content of 3 records, add --apply" in shown.output
    assert isinstance(unconfirmed.exception, RetentionRefused)
    assert "removed the content of 3 records; table test-1" in done.output
    assert left == 1
    assert (released.exit_code, rest.exit_code) == (0, 0)
    assert "removed the content of 1 records" in rest.output
    assert readable(tmp_path) == 0


def test_hold_reports_what_it_covers_and_rejects_a_customer_without_data(
    run_command: RunCommand,
) -> None:
    held = run_command("hold", "DE", "C2", "--reason", "lawsuit")
    unknown = [
        run_command("hold", market, number, "--reason", "lawsuit") for market, number in (("DE", "C4"), ("FR", "C2"))
    ]
    accepted = run_command("hold", "DE", "C4", "--reason", "lawsuit", "--unknown")

    assert "covers 2 records, 0 feature rows and 0 run rows" in held.output
    assert [type(done.exception) for done in unknown] == [ErasureRefused] * 2
    assert "DE C4: the database has no data of this customer" in str(unknown[0].exception)
    assert (held.exit_code, accepted.exit_code) == (0, 0)
    assert "covers 0 records" in accepted.output


def test_a_hold_is_named_by_any_unambiguous_prefix_of_8_or_more_characters(
    run_command: RunCommand, tmp_path: Path
) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, origin=ORIGIN) as log:
        # The ids of holds begin with the time, so two holds of the same moment have the same first characters.
        first, second = (place_hold(log, "DE", "C1", "lawsuit", OLD) for _ in range(2))
        other = place_hold(log, "DE", "C1", "lawsuit", OLD.replace(year=2002))

    short, several, none, word = (
        run_command("release", name, "--reason", "settled") for name in (other[:7], first[:8], "0" * 8, "lawsuit 7")
    )
    released = run_command("release", other[:8], "--reason", "settled")
    rest = [run_command("release", name, "--reason", "settled") for name in (first, second.upper())]

    for refused, message in (
        (short, "is not a hold id"),
        (several, "matches more than one hold"),
        (none, "matches no hold"),
        (word, "is not a hold id"),
    ):
        assert isinstance(refused.exception, ErasureRefused)
        assert message in str(refused.exception)
        assert "unambiguous prefix of 8 or more characters" in str(refused.exception)
    assert released.output == f"hold {other}: released\n"
    assert [done.exit_code for done in rest] == [0, 0]


@pytest.mark.parametrize("customer", [("de", "C1"), ("DE ", "C1"), ("D", "C1"), ("DE", "C 1"), ("DE", "")])
@pytest.mark.parametrize("command", [("hold", "--unknown"), ("erase",), ("erase", "--apply")])
def test_a_customer_that_no_request_can_name_is_rejected(
    run_command: RunCommand, command: tuple[str, ...], customer: tuple[str, str]
) -> None:
    """No data can belong to such a customer, so a hold would protect nothing."""
    done = run_command(command[0], *customer, "--reason", "lawsuit", *command[1:])

    assert isinstance(done.exception, ErasureRefused)
    assert "the market must be two uppercase letters" in str(done.exception)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "C1", "settled with C1.", 'as "C1" asked', "C1, settled"])
def test_the_reason_of_a_release_is_mandatory_and_must_not_name_the_customer(
    run_command: RunCommand, reason: str
) -> None:
    found = re.search(r"release ([0-9a-f-]{36})", run_command("hold", "DE", "C1", "--reason", "lawsuit").output)
    assert found is not None

    refused = run_command("release", found[1], "--reason", reason)
    other = run_command("release", found[1], "--reason", "settled with C2 and C12")

    assert isinstance(refused.exception, ErasureRefused)
    assert "--reason must" in str(refused.exception)
    assert other.exit_code == 0


def test_doctor_reports_keys_that_cannot_be_opened(run_command: RunCommand, tmp_path: Path) -> None:
    assert run_command("retain").exit_code == 0
    (tmp_path / "master.key").unlink()

    database = Database(f"sqlite:///{tmp_path / 'log.db'}")
    (problem,) = find_key_and_run_problems(database, key_places(tmp_path))
    database.close()

    assert "master.key" in problem
