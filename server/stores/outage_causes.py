"""Why a database or a file failed, in one sentence for the operator.

The sentence never repeats the text of the database, because a database may quote a row, a password or an address.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import TimeoutError as PoolTimeout

_UNKNOWN = "the database failed"
_FULL = "the disk is full: free space on the disk of the database, its write-ahead log and the key files"
_READ_ONLY = "the disk or the database is read-only: make it writable"
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: "reading or writing the database file failed: check the disk, and whether it is full",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened: check its folder and permissions, and the limit on open files",
    sqlite3.SQLITE_BUSY: "another process has locked the database file for too long: find and stop the process",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore it from its backup",
    sqlite3.SQLITE_NOTADB: "the file is not a database: check the settings `database` and `keys`, or restore the file from its backup",
}
# SQLSTATE codes of PostgreSQL, or their first two characters.
_BY_SQLSTATE = {
    "28": "PostgreSQL rejected the user or the password: check the URL in `database` and `keys`",
    "3D": "PostgreSQL has no database of this name: check the URL in `database` and `keys`",
    "42501": "the PostgreSQL user may not use a table: grant the permission",
    "53100": _FULL,
    "53200": "PostgreSQL is out of memory",
    "53300": "PostgreSQL accepts no more connections: raise max_connections, or lower `store_threads`",
    "25006": "PostgreSQL is read-only, perhaps because it is a standby: connect to the primary",
    "55P03": "another transaction has locked a table or row for too long: find it in pg_stat_activity",
    "57014": "PostgreSQL exceeded the time limit of a statement",
    "57P": "PostgreSQL is stopping or starting",
    "08": "the connection to PostgreSQL was lost",
}
# A connection that fails has no SQLSTATE, so its text is searched for these words.
_BY_WORDS = (
    ("password authentication failed", _BY_SQLSTATE["28"]),
    ("no password supplied", _BY_SQLSTATE["28"]),
    ("no pg_hba.conf entry", _BY_SQLSTATE["28"]),
    ("role ", _BY_SQLSTATE["28"]),
    ("does not exist", _BY_SQLSTATE["3D"]),
    ("too many clients", _BY_SQLSTATE["53300"]),
    ("remaining connection slots", _BY_SQLSTATE["53300"]),
    ("certificate has expired", "the certificate of PostgreSQL has expired: renew it"),
    ("expired certificate", "the client certificate for PostgreSQL has expired: renew it"),
    ("certificate", "the certificate of PostgreSQL, or the client certificate for it, is not accepted: check both"),
    ("system is starting up", _BY_SQLSTATE["57P"]),
    ("system is shutting down", _BY_SQLSTATE["57P"]),
    ("could not translate host name", "the host of PostgreSQL is unknown: check the URL in `database` and `keys`"),
    ("failed to resolve host", "the host of PostgreSQL is unknown: check the URL in `database` and `keys`"),
    ("connection refused", "PostgreSQL does not listen at its address: check whether it runs"),
    ("no such file or directory", "PostgreSQL does not listen at its address: check whether it runs"),
    ("timeout", "PostgreSQL does not answer: check whether it runs, and the network"),
    ("connection", _BY_SQLSTATE["08"]),
)
_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EMFILE: "the process has too many open files: raise its limit on open files",
}


def outage_cause(error: BaseException) -> str:
    """Return why a database or a file failed."""
    for each in _chain(error):
        if isinstance(each, PoolTimeout):
            return "every connection of the pool was in use for too long: the database is slow, or `store_threads` is too high"
        if isinstance(each, sqlite3.Error):
            return _sqlite_cause(each)
        if isinstance(each, OSError) and each.errno is not None:
            return _BY_ERRNO.get(each.errno, f"reading or writing a file failed: {os.strerror(each.errno)}")
        if hasattr(each, "sqlstate"):  # an error of psycopg, which a server with SQLite does not import
            return _postgresql_cause(each.sqlstate or "", str(each).lower())
    return _UNKNOWN


def _sqlite_cause(error: sqlite3.Error) -> str:
    """Return the cause of an error of SQLite, by its code. An error of Python's module has no code."""
    name = getattr(error, "sqlite_errorname", "")
    other = f"SQLite reports {name}" if name else _UNKNOWN
    return _BY_SQLITE_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, other)


def _postgresql_cause(sqlstate: str, text: str) -> str:
    """Return the cause of an error of PostgreSQL, by its SQLSTATE or, if it has none, by its text."""
    for length in (5, 3, 2):
        if cause := _BY_SQLSTATE.get(sqlstate[:length]):
            return cause
    if sqlstate:
        return f"PostgreSQL reports SQLSTATE {sqlstate}"
    return next((cause for words, cause in _BY_WORDS if words in text), _UNKNOWN)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it. SQLAlchemy keeps the error of the driver in `orig`."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = getattr(found, "orig", None) or found.__cause__
