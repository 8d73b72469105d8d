"""The files that every simulated run starts with, and the failing application log of all runs."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from models.catalog import activate
from server.application_log import LogWriter, logging_options
from server.config import Settings, read_settings
from server.registry.bundle_activation import ActivationJournal
from server.registry.model_registry import ModelRegistry
from server.registry.policy_activation import activate_policy_of_file
from server.registry.policy_registry import PolicyRegistry
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.record_log.opening import KeyLocations, open_log
from tests.conftest import LOAD_TIME, key_settings
from tests.simulation.simulation import Template
from tests.small import SmallFamily


def write_template(small: SmallFamily, database: Path, folder: Path) -> Template:
    """Copy the bundles of the small family and a database with features of its customers; return the template."""
    bundles = folder / "bundles"
    shutil.copytree(small.bundles, bundles)
    activate(bundles, small.bundle_folder.name)
    shutil.copy(database, folder / "grounds.db")
    for name in ("keys.db", "master.key", "signing.key", "signing.mark"):
        if database.with_name(name).exists():
            shutil.copy(database.with_name(name), folder)
    settings = read_settings(
        port=0,
        bundles=bundles,
        policy=small.policy,
        database=f"sqlite:///{folder / 'grounds.db'}",
        **key_settings(folder),
    )
    models = ModelRegistry(bundles)
    _initialize_log(settings, models)
    return Template(folder, settings, models)


def _initialize_log(settings: Settings, models: ModelRegistry) -> None:
    """Create the record log and its keys, load the models, and record what serves, which takes time in each run otherwise."""
    database = Database(settings.database)
    log = open_log(database, KeyLocations.from_settings(settings))
    policies = PolicyRegistry(settings.policy, PolicyStore(database))
    activate_policy_of_file(log, policies.start(), LOAD_TIME, only_first=True)
    models.journal = ActivationJournal(log, settings.bundles, lambda: LOAD_TIME)
    models.refresh()
    models.journal = None
    log.close()
    database.close()


@contextmanager
def full_log_disk() -> Iterator[None]:
    """Write the application log to a disk that is always full, with the options of the server."""
    before = structlog.get_config()
    # The descriptor stays open, because the writer's thread uses it until the process ends.
    writer = LogWriter(os.open("/dev/full", os.O_WRONLY))
    # Without a cache, because other tests in this process must have their own loggers.
    structlog.configure(**logging_options(writer), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
