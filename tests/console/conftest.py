"""Fixtures that start a server with decisions in its record log, and a console that connects to it, as processes."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import demo
from grounds.credit.v1 import credit_pb2
from grounds_client import Amount, Client
from models.catalog import activate
from server.stores.database import Database
from tests.conftest import LOAD_TIME, key_environment
from tests.console.chromium import open_chromium
from tests.console.serving import open_console
from tests.server.churn_runs import ChurnFamily
from tests.server.conftest import churn_family
from tests.server.loading import load_file
from tests.server.servers import copy_bundle
from tests.small import SmallFamily

__all__ = ["churn_family"]
SCRIPT = "<script>document.title='attacked'</script>"


@dataclasses.dataclass(frozen=True)
class Pages:
    """A console in front of a server.

    Attributes:
        url: Address of the console.
        address: Address of the server.
        decision_ids: Decisions in the record log.
    """

    url: str
    address: str
    decision_ids: list[str]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium."""
    with open_chromium() as browser:
        yield browser


def prepare_settings(folder: Path, family: SmallFamily, features: Path, churn: ChurnFamily) -> dict[str, str]:
    """Return environment variables for a server with the small credit family active and a churn run loaded.

    Args:
        folder: An empty folder for the databases, the bundles and the keys.
        family: The credit family.
        features: The database with its features, which is copied.
        churn: The churn family.
    """
    database = f"sqlite:///{shutil.copy(features, folder / 'grounds.db')}"
    opened = Database(database)
    load_file(opened, churn.first_run, LOAD_TIME)
    opened.close()
    bundles = shutil.copytree(family.bundles, folder / "bundles")
    activate(bundles, family.bundle_folder.name)
    copy_bundle(churn.bundle_folder, bundles)
    found = {"GROUNDS_BUNDLES": str(bundles), "GROUNDS_POLICY": str(family.policy), "GROUNDS_DATABASE": database}
    return found | key_environment(folder)


@pytest.fixture(scope="session")
def console_settings(
    small: SmallFamily, small_database: Path, churn_family: ChurnFamily, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return environment variables for a server whose database several servers of the tests share."""
    return prepare_settings(tmp_path_factory.mktemp("console"), small, small_database, churn_family)


@pytest.fixture(scope="session")
def pages(console_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Serve the console in front of a server with three decisions, one of them with an override."""
    log = tmp_path_factory.mktemp("console-log") / "log"
    with demo.serving(log, **console_settings) as address, open_console("--address", address) as url:
        with Client(address) as client:
            amount = Amount.parse("1000EUR")
            decisions = [
                client.score_credit("DE", "C00000", amount, features={"turnover": turnover})
                for turnover in (5_000.0, 50_000.0, 500_000.0)
            ]
            ids = [decision.record_ref.decision_id for decision in decisions]
            client.record_override(
                ids[0],
                credit_pb2.DECISION_DECLINE,
                reason_code="FRAUD_SUSPECTED",
                user_id="u17",
                user_role="CREDIT_MANAGER",
                authority_limit=Amount.parse("500000EUR"),
                comment=SCRIPT,
            )
        yield Pages(url, address, ids)
