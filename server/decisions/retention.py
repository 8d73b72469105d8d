"""The retention table: how many years records are kept, by market and kind, read from a TOML file."""

import datetime as dt
import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grounds_record.activations import CHANGE_KINDS
from grounds_record.printable_text import hidden_text_problems
from models.field_problems import field_path, field_problems
from models.identifiers import MARKET_PATTERN
from server.decisions.end_mark import end_mark_problem
from server.decisions.toml_positions import line_numbers, nearest_line
from server.errors import RetentionRefused

ALL_MARKETS = "*"
_END_MARK = "# End of the retention table."  # the last line of every table
# Records of these kinds explain removals, erasures, legal holds, lost records, wrong clocks, and changes of bundles, of
# the policy and of the signing key.
# They contain no personal data, and auditors need them as long as the log exists.
PERMANENT_KINDS = {
    *(
        *CHANGE_KINDS,
        "CLOCK_CONFIRMED",
        "RETENTION",
        "ERASURE",
        "FORK_ADOPTED",
        "LEGAL_HOLD",
        "LEGAL_HOLD_RELEASE",
        "SIGNING_KEY_ROTATED",
    ),
}
_Kind = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]


class _TablePart(BaseModel):
    """A part of the file. An unknown key is an error, so that a misspelt key is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RetentionRule(_TablePart):
    """The period for which records of one kind are kept in one market.

    Attributes:
        market: ISO 3166-1 alpha-2 code. "*" stands for records without a market, and for every market that has no line
            of its own for this kind.
        kind: The kind of record, such as CREDIT_DECISION.
        years: Number of full years for which records are kept, after the time of the record.
    """

    market: str = Field(pattern=rf"^({MARKET_PATTERN}|\*)$")
    kind: _Kind
    years: int = Field(ge=1, le=100)

    @model_validator(mode="after")
    def _check_removable(self) -> Self:
        """Check that records of this kind may be removed."""
        if self.kind in PERMANENT_KINDS:
            raise ValueError(f"records of kind {self.kind} are kept as long as the log; remove this line")
        return self


class RetentionDocument(_TablePart):
    """The content of the file."""

    version: str = Field(min_length=1, max_length=64)
    lines: tuple[RetentionRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        """Check that every pair of market and kind has at most one line."""
        names = [(line.market, line.kind) for line in self.lines]
        if duplicates := sorted({" ".join(name) for name in names if names.count(name) > 1}):
            raise ValueError(f"more than one line for {', '.join(duplicates)}; keep one line for each market and kind")
        return self


@dataclass(frozen=True, slots=True)
class RetentionCutoff:
    """A line of the table with the cut-off time that applies at a given moment.

    Attributes:
        rule: The line.
        before: The cut-off time. The line removes records that are older than this time.
        others: Markets to which the line does not apply because they have their own line for the kind. Empty unless the
            market of the line is "*".
    """

    rule: RetentionRule
    before: dt.datetime
    others: frozenset[str]


@dataclass(frozen=True, slots=True)
class RetentionTable:
    """A valid table.

    Attributes:
        document: The content of the file.
        sha256: SHA-256 of the file, in hexadecimal.
    """

    document: RetentionDocument
    sha256: str

    def cutoffs(self, now: dt.datetime) -> Iterator[RetentionCutoff]:
        """Yield the cut-off of each line at the time `now`."""
        for line in self.document.lines:
            markets = {other.market for other in self.document.lines if other.kind == line.kind}
            others = frozenset(markets - {ALL_MARKETS}) if line.market == ALL_MARKETS else frozenset()
            yield RetentionCutoff(line, years_before(now, line.years), others)

    def kinds(self) -> set[str]:
        """Return the kinds of record that have a line."""
        return {line.kind for line in self.document.lines}


def years_before(now: dt.datetime, years: int) -> dt.datetime:
    """Return the time `years` years before `now`.

    If that year has no 29 February, 28 February is returned instead, so that no record is removed too early.
    """
    try:
        return now.replace(year=now.year - years)
    except ValueError:
        return now.replace(year=now.year - years, day=28)


def read_retention(path: Path) -> RetentionTable:
    """Read a retention table.

    Raises:
        RetentionRefused: The file cannot be read, is incomplete or is invalid. The message lists every problem with its line.
    """
    try:
        content = path.read_bytes()
        text = content.decode()
        document = RetentionDocument.model_validate(tomllib.loads(text))
    except OSError as error:
        raise RetentionRefused(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        lines = line_numbers(text)
        problems = [
            f"  line {nearest_line(lines, field)}: {field_path(field) or 'table'}: {problem}"
            for field, problem in field_problems(error)
        ]
        raise RetentionRefused("\n".join([f"{path}:", *problems])) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested too deeply
        raise RetentionRefused(f"{path}: is not TOML: {error}") from error
    if hidden := [f"  {field}: {problem}" for field, problem in hidden_text_problems(tomllib.loads(text))]:
        raise RetentionRefused("\n".join([f"{path}:", *hidden]))
    # A part of the line `years = 10` is `years = 1`.
    if problem := end_mark_problem(content, _END_MARK):
        raise RetentionRefused(f"{path}: {problem}")
    return RetentionTable(document, hashlib.sha256(content).hexdigest())
