"""The checks of `doctor` that concern the surroundings of the database: disks, certificates, clock, anchors and data age.

`server.maintenance.doctor` checks the content of the database.
"""

import datetime as dt
import enum
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy import func, select

from server.config import Settings
from server.decisions.policy import Policy
from server.errors import ClockRefused, PolicyRefused, RecordDamaged
from server.maintenance.clock import check_clock
from server.registry.policy_registry import find_policy_in_force
from server.stores.catalog.policies import PolicyStore
from server.stores.certificates import certificate_end
from server.stores.clock import Clock
from server.stores.database import Database
from server.stores.record_log.anchors import read_anchored_size
from server.stores.record_log.opening import KeyLocations
from server.stores.tables import CHECKPOINTS, FEATURES, LOG_HEAD, RUNS

_FREE_BYTES_MIN, _FREE_BYTES_LOW = 100 << 20, 1 << 30
_CERTIFICATE_DAYS = 14
_DAY_SECONDS = 86_400


class Severity(enum.Enum):
    """How serious a finding is. The value is the word in the output of `doctor --json`."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Name of the check, for programs.
        severity: How serious the finding is.
        text: What was found and, unless the severity is OK, what to do.
    """

    check: str
    severity: Severity
    text: str


def check_surroundings(settings: Settings) -> list[Finding]:
    """Return the findings that need no database: free disk space, and certificates."""
    return [*_disk_findings(settings), *_certificate_findings(settings)]


def check_currency(database: Database, settings: Settings) -> list[Finding]:
    """Return the findings about time: the clock, the anchors, and the age of features and runs.

    Raises:
        StoreUnavailable: The database does not respond.
    """
    return [
        *_clock_findings(database, settings),
        *_anchor_findings(database, settings),
        *_age_findings(database, settings),
    ]


def _disk_findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each disk that the server writes to, and for each file that the server cannot write."""
    keys = [key for key in (settings.signing_key, settings.master_key) if isinstance(key, Path)]
    locations = KeyLocations.from_settings(settings)
    written = [locations.high_water_mark().path, locations.erasure_list().path]
    written += [
        Path(str(url.database)) for url in map(sqlalchemy.make_url, (settings.database, settings.keys)) if _is_file(url)
    ]
    yield from map(_unwritable_file, filter(_is_unwritable, written))
    folders = {path.absolute().parent for path in (*keys, *written)}
    if settings.anchor_folder is not None:
        folders.add(settings.anchor_folder.absolute())
    for folder in sorted(folders):
        try:
            status = os.statvfs(folder)
        except OSError as error:
            yield Finding(
                "disk",
                Severity.ERROR,
                f"{folder}: cannot be read: {error.strerror}; create the folder, or change the setting",
            )
            continue
        free = status.f_bavail * status.f_frsize
        if not os.access(folder, os.W_OK) or status.f_flag & os.ST_RDONLY:
            yield Finding(
                "disk", Severity.ERROR, f"{folder}: is not writable; change its permissions, or mount the disk writable"
            )
        elif free < _FREE_BYTES_LOW:
            severity = Severity.ERROR if free < _FREE_BYTES_MIN else Severity.WARNING
            yield Finding("disk", severity, f"{folder}: only {free >> 20} MiB are free; free space on this disk")
        else:
            yield Finding("disk", Severity.OK, f"{folder}: {free >> 20} MiB are free")


def _is_unwritable(path: Path) -> bool:
    """Return whether a file exists and cannot be opened for writing."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _unwritable_file(path: Path) -> Finding:
    """Return the finding about a file that cannot be written."""
    return Finding(
        "disk",
        Severity.ERROR,
        f"{path}: cannot be written; make it a file that the user of the server may write, on a disk that is mounted writable",
    )


def _is_file(url: sqlalchemy.URL) -> bool:
    """Return whether a URL is that of a SQLite file."""
    return url.drivername.startswith("sqlite") and url.database not in {None, "", ":memory:"}


def _certificate_findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each certificate file: whether it can be read, and how long it is valid."""
    for name in ("tls_certificate", "tls_client_ca"):
        path: Path | None = getattr(settings, name)
        if path is None:
            continue
        days = (certificate_end(path) - time.time()) / _DAY_SECONDS
        if days < 0:
            yield Finding("certificates", Severity.ERROR, f"{name}: {path} has expired; renew it")
        elif days < _CERTIFICATE_DAYS:
            yield Finding("certificates", Severity.WARNING, f"{name}: {path} expires in {days:.0f} days; renew it")
        elif days >= _CERTIFICATE_DAYS:
            yield Finding("certificates", Severity.OK, f"{name}: {path} is valid for {days:.0f} days")
        else:
            yield Finding(
                "certificates", Severity.ERROR, f"{name}: {path} contains no certificate that can be read; restore it"
            )


def _clock_findings(database: Database, settings: Settings) -> Iterator[Finding]:
    """Yield a finding about the clock."""
    mark = KeyLocations.from_settings(settings).high_water_mark().path
    try:
        check_clock(database, Clock(), mark=mark, anchor_folder=settings.anchor_folder, removes=False)
    except ClockRefused as error:
        problem = str(error).partition("\n")[2].strip() or str(error)
        yield Finding(
            "clock", Severity.ERROR, f"the clock may be wrong: {problem}; correct the clock, or run confirm-clock"
        )
    else:
        yield Finding(
            "clock",
            Severity.OK,
            f"the clock shows {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC and contradicts nothing",
        )


def _anchor_findings(database: Database, settings: Settings) -> Iterator[Finding]:
    """Yield a finding about the anchors: whether the newest records are covered by an anchored checkpoint."""
    with database.reading() as connection:
        size = connection.execute(select(LOG_HEAD.c.size)).scalar() or 0
        stored = connection.execute(select(func.max(CHECKPOINTS.c.size))).scalar() or 0
    if settings.anchor_folder is None and not settings.anchor_command:
        yield Finding(
            "anchors",
            Severity.OK,
            "no anchor is configured; set anchor_folder or anchor_command, so that a restored database is noticed",
        )
        return
    anchored = stored
    if settings.anchor_folder is not None and size:
        anchored = read_anchored_size(database, settings.anchor_folder)
    if anchored < size:
        yield Finding(
            "anchors",
            Severity.WARNING,
            f"the newest {size - anchored} of {size} records are covered by no anchor; if a server runs, wait for anchor_seconds, "
            "then look for `checkpoint not anchored` in its application log",
        )
    else:
        yield Finding("anchors", Severity.OK, f"all {size} records are covered by an anchor")


def _age_findings(database: Database, settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each market with features, and for each market with runs."""
    now = dt.datetime.now(dt.UTC)
    features = (
        select(FEATURES.c.market, func.max(FEATURES.c.as_of)).group_by(FEATURES.c.market).order_by(FEATURES.c.market)
    )
    newest_of_family = select(RUNS.c.market, func.max(RUNS.c.valid_until).label("valid_until"))
    newest_of_family = newest_of_family.where(RUNS.c.state == "LOADED").group_by(RUNS.c.market, RUNS.c.family)
    each = newest_of_family.subquery()
    runs = select(each.c.market, func.min(each.c.valid_until)).group_by(each.c.market)  # the family that expires first
    with database.reading() as connection:
        newest = {market: _utc(time) for market, time in connection.execute(features)}
        valid = {market: _utc(time) for market, time in connection.execute(runs)}
    policy = _policy_in_force(database, settings)
    for market, as_of in newest.items():
        days, allowed = (now - as_of).days, _days_allowed(policy, market)
        text = f"{market}: the newest features are {days} days old"
        if allowed is not None and days > allowed:
            text += f"; the policy refers every decision with features older than {allowed} days; load newer features"
            yield Finding("features", Severity.WARNING, text)
        else:
            yield Finding("features", Severity.OK, text)
    for market, until in sorted(valid.items()):
        text = f"{market}: the newest churn run is valid until {until:%Y-%m-%d}"
        if until < now:
            yield Finding("runs", Severity.WARNING, f"{text}; score the market again, and load the run")
        else:
            yield Finding("runs", Severity.OK, text)


def _policy_in_force(database: Database, settings: Settings) -> Policy | None:
    """Return the policy in force; None if it cannot be used, which `diagnose` reports."""
    try:
        return find_policy_in_force(PolicyStore(database), settings.policy)
    except (PolicyRefused, RecordDamaged):
        return None


def _days_allowed(policy: Policy | None, market: str) -> int | None:
    """Return the largest age of features that a section of a market allows; None if the market has no section."""
    sections = policy.document.sections if policy is not None else ()
    return max((section.features_max_age_days for section in sections if section.market == market), default=None)


def _utc(time_utc: dt.datetime) -> dt.datetime:
    """Return a time with its time zone. SQLite returns times without a time zone, which are in UTC."""
    return time_utc if time_utc.tzinfo else time_utc.replace(tzinfo=dt.UTC)
