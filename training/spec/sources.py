"""The part of the spec about the sources of rows: files, folders and database queries."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from training.spec.part import SpecPart

PathList = str | tuple[str, ...]
_ENVIRONMENT_URL = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_FILE_URL = re.compile(r"(sqlite|duckdb):///[^@]+")


class QuerySpec(SpecPart):
    """A query whose rows are read instead of a file.

    Attributes:
        sql: The SELECT statement. With ORDER BY, the digest of the data in the bundle is reproducible.
        url: "env:NAME" if the environment variable NAME contains the URL, so that the spec contains no credentials; or
            the URL of a database file, "sqlite:///PATH" or "duckdb:///PATH".
    """

    sql: str = Field(min_length=1)
    url: str

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        """Reject a URL that may contain credentials; the message does not repeat the URL."""
        if not (_ENVIRONMENT_URL.fullmatch(url) or _FILE_URL.fullmatch(url)):
            raise ValueError(
                'must be "env:NAME" with the name of an environment variable that has the URL of the database, because a spec '
                "must not contain credentials; or sqlite:///PATH or duckdb:///PATH for a database file"
            )
        return url


# A table or log in the spec is one path, several paths, or a query.
SourceEntry = Path | tuple[Path, ...] | QuerySpec
