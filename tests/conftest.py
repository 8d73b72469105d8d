"""Shared fixtures: a small model family that trains in seconds, both real families, and servers over a real channel."""

import datetime as dt
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from grounds.audit.v1 import audit_pb2_grpc
from grounds.churn.v1 import churn_pb2_grpc
from grounds.credit.v1 import credit_pb2_grpc
from grounds.model.v1 import model_pb2_grpc
from models.catalog import ACTIVE, activate
from server.application import Application
from server.config import Settings, read_settings
from server.load.files import load_file
from server.stores.database import Database
from server.stores.record_log.opening import KeyLocations
from server.stores.runs.pruning import RunRetention
from tests.small import SmallFamily, write_small_family

ROOT = Path(__file__).resolve().parent.parent
# Number of records that the first start of a server of the small family appends: the activation of the policy, and of the
# bundle in DE and FR.
START_RECORDS = 3
LOAD_TIME = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Released:
    """The files of the two real model families, as the real commands wrote them.

    All workers share them, so a test serves and changes a copy of the database: `copy_stores`.

    Attributes:
        bundles: Folder of the bundles.
        files: Folder of the feature and run files.
        printed: Output of `python -m training fit`, by family.
    """

    bundles: Path
    files: Path
    printed: dict[str, str]

    def copy_stores(self, folder: Path) -> dict[str, Any]:
        """Copy the database and the keys of its record log; return the settings of a server of the copy.

        Both are copied, because the high-water mark next to the keys must match the database.
        """
        for name in ("grounds.db", "keys.db", "master.key", "signing.key", "signing.mark"):
            shutil.copy(self.files.parent / name, folder)
        return {"bundles": self.bundles, "database": f"sqlite:///{folder / 'grounds.db'}", **key_settings(folder)}

    def bundle_folder(self, family: str) -> Path:
        """Return the folder of the family's only bundle."""
        return next(path for path in (self.bundles / family).iterdir() if path.is_dir())


@dataclass(frozen=True, slots=True)
class Serving:
    """A server in this process, and a real channel to it."""

    application: Application
    settings: Settings
    channel: grpc.aio.Channel

    @property
    def audit(self) -> audit_pb2_grpc.AuditServiceStub:
        """Return a stub of AuditService."""
        return audit_pb2_grpc.AuditServiceStub(self.channel)

    @property
    def credit(self) -> credit_pb2_grpc.CreditServiceStub:
        """Return a stub of CreditService."""
        return credit_pb2_grpc.CreditServiceStub(self.channel)

    @property
    def churn(self) -> churn_pb2_grpc.ChurnServiceStub:
        """Return a stub of ChurnService."""
        return churn_pb2_grpc.ChurnServiceStub(self.channel)

    @property
    def models(self) -> model_pb2_grpc.ModelServiceStub:
        """Return a stub of ModelService."""
        return model_pb2_grpc.ModelServiceStub(self.channel)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files so that no process waits while another one trains the two real families.

    Each file runs in one process, and files start in the order of the items. The first file of all needs the families, so
    one process trains them; the other files that need them come after half of the rest.
    """
    training = {item.path for item in items if "released" in getattr(item, "fixturenames", ())}
    first = min(training, default=None)
    rest = [item for item in items if item.path not in training]
    waiting = [item for item in items if item.path in training and item.path != first]
    # The simulated runs are one file that takes minutes. It starts early, so that the other processes do not wait for it.
    rest.sort(key=lambda item: "simulation" not in item.path.parts)
    half = len(rest) // 2
    items[:] = [*(item for item in items if item.path == first), *rest[:half], *waiting, *rest[half:]]


def key_settings(folder: Path) -> dict[str, Any]:
    """Return server settings that keep the keys of a record log in a folder."""
    return {
        "keys": f"sqlite:///{folder / 'keys.db'}",
        "master_key": folder / "master.key",
        "signing_key": folder / "signing.key",
    }


def key_places(folder: Path) -> KeyLocations:
    """Return the locations of these keys, for code that opens the record log without a server."""
    return KeyLocations.from_settings(read_settings(**key_settings(folder)))


def as_environment(settings: dict[str, Any]) -> dict[str, str]:
    """Return settings as environment variables of a process."""
    return {f"GROUNDS_{name.upper()}": str(value) for name, value in settings.items()}


def key_environment(folder: Path) -> dict[str, str]:
    """Return `key_settings` as environment variables of a process."""
    return as_environment(key_settings(folder))


def run(*arguments: str, cwd: Path = ROOT) -> str:
    """Run a Python module of the project as a command; return its standard output."""
    done = subprocess.run([sys.executable, "-m", *arguments], check=False, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _log_to_standard_error() -> None:
    """Keep the log of a server in this process out of the output of a command that the test runs in the same process."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Train the small family once per session. A test must copy the files that it changes."""
    return write_small_family(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_database(small: SmallFamily) -> Path:
    """Load the features of the small family once per session; return the path of the database. A test must copy it."""
    path = small.folder / "small.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    load_file(database, small.features, LOAD_TIME, key_places(path.parent), RunRetention.from_settings(read_settings()))
    database.close()
    return path


@pytest.fixture(scope="session")
def small_activation(small: SmallFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Activate the bundle of the small family in a copy of its catalog; return the path of the ACTIVE.toml."""
    bundles = shutil.copytree(small.bundles, tmp_path_factory.mktemp("activated") / "bundles")
    activate(bundles, small.bundle_folder.name)
    return bundles / "credit" / ACTIVE


@pytest.fixture
def small_settings(small: SmallFamily, small_database: Path, small_activation: Path, tmp_path: Path) -> Settings:
    """Return settings of a server of the small family, with copies of all files; the bundle is active in DE and FR."""
    bundles = tmp_path / "bundles"
    shutil.copytree(small.bundles, bundles)
    shutil.copy(small_activation, bundles / "credit" / ACTIVE)
    database = tmp_path / "grounds.db"
    shutil.copy(small_database, database)
    return read_settings(
        port=0,
        bundles=bundles,
        policy=small.policy,
        database=f"sqlite:///{database}",
        reload_seconds=0.05,
        drain_seconds_max=0,
        **key_settings(tmp_path),
    )


@pytest.fixture
async def serving(small_settings: Settings) -> AsyncIterator[Serving]:
    """Start a server of the small family."""
    application = Application(small_settings)
    await application.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
        yield Serving(application, small_settings, channel)
    await application.stop()


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Train, activate, score and load both real families once for all workers. A test must not change the files."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, printed = shared / "released", shared / "released.json"
    with (shared / "released.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            folder.mkdir()
            printed.write_text(json.dumps(release(folder)))
    return Released(folder / "bundles", folder / "files", json.loads(printed.read_text()))


def release(folder: Path) -> dict[str, str]:
    """Train, activate, score and load both families in a folder; return the output of training, by family."""
    bundles, files, database = folder / "bundles", folder / "files", f"sqlite:///{folder / 'grounds.db'}"
    config = folder / "config.toml"
    settings = {"bundles": bundles, "database": database, **key_settings(folder)}
    config.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))
    printed = {}
    for family in ("credit", "churn"):
        spec = f"training/{family}.toml"
        printed[family] = run("training", "fit", spec, "--bundles", str(bundles), "--files", str(files))
        bundle_id = next(path.name for path in (bundles / family).iterdir() if path.is_dir())
        run("server", "activate", bundle_id, "--config", str(config))
    churn_files = [str(files / f"churn.{kind}.parquet") for kind in ("features", "run")]
    run(
        *("training", "score", "training/churn.toml", "--bundles", str(bundles)),
        *("--features", churn_files[0], "--to", churn_files[1]),
    )
    run("server", "load", str(files / "credit.features.parquet"), *churn_files, "--config", str(config))
    return printed
