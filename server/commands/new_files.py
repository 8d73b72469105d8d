"""Reports database and key files that do not exist and that the server therefore creates.

The operator may expect these files to exist. Without the report, a start in the wrong folder or a misspelt path would
silently create an empty database with new keys. PostgreSQL databases are not checked, because PostgreSQL itself rejects
a connection to a database that does not exist.
"""

from dataclasses import dataclass
from pathlib import Path

import structlog

from server.commands.output import print_error
from server.config import Settings

_LOG = structlog.get_logger()
_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class AbsentFile:
    """A file that does not exist yet, and that the server or a command may create.

    Attributes:
        setting: Name of the setting that contains the path.
        kind: Kind of the file, as messages name it, such as "database".
        path: Absolute path of the file.
    """

    setting: str
    kind: str
    path: Path


def absent_files(settings: Settings) -> list[AbsentFile]:
    """Return the database and key files that do not exist."""
    files = [
        ("database", "database", _sqlite_path(settings.database)),
        ("keys", "database of customers' keys", _sqlite_path(settings.keys)),
        ("master_key", "master key", settings.master_key),
        ("signing_key", "signing key", settings.signing_key),
    ]
    return [
        AbsentFile(setting, kind, path.absolute())
        for setting, kind, path in files
        if isinstance(path, Path) and not path.exists()
    ]


def report_created(absent: list[AbsentFile]) -> None:
    """Write a line to standard error for each file that was absent and now exists."""
    for file in absent:
        if file.path.exists():
            print_error(
                f"created a new {file.kind} at {file.path}; if you expected an existing one, check `{file.setting}`"
            )


def warn_missing_bundles(settings: Settings) -> None:
    """Write a line to standard error if the bundles folder does not exist."""
    if not settings.bundles.is_dir():
        print_error(f"the bundles folder {settings.bundles.absolute()} does not exist; check `bundles`")


def log_new_files(settings: Settings) -> None:
    """Log a warning for each file that the server is about to create, and for a missing bundles folder."""
    for file in absent_files(settings):
        _LOG.warning(
            f"creating a new {file.kind}",
            path=str(file.path),
            setting=file.setting,
            hint="if you expected an existing one, stop the server and check the setting",
        )
    if not settings.bundles.is_dir():
        _LOG.warning(
            "bundles folder missing",
            path=str(settings.bundles.absolute()),
            setting="bundles",
            hint="the server can serve no model until the folder exists",
        )


def _sqlite_path(url: str) -> Path | None:
    """Return the path in a SQLite URL; None for PostgreSQL and for a database in memory."""
    if not url.startswith(_SQLITE):
        return None
    name = url.removeprefix(_SQLITE).partition("?")[0]
    return None if name in {"", ":memory:"} or name.startswith("file:") else Path(name)
