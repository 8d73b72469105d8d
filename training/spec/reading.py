"""The part of the spec about reading a file: its format, and how missing values, times, numbers and labels are written.

Every field has a default. By default, training detects the format of a text file and prints it in one line. Training
rejects the file if a value does not have the type that the spec gives the column.
"""

import datetime as dt
import zoneinfo
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.identifiers import Market
from training.spec.part import SpecPart

# All years of a date. Use them where a time may lie in the distant past or future, such as a day of birth.
ALL_YEARS = (1, dt.MAXYEAR)
Compression = Literal["none", "gzip", "zstd", "bz2", "xz"]
Marker = Annotated[str | float, Field(union_mode="left_to_right")]
_NUMBER_FORMATS = {"epoch_s", "epoch_ms", "excel"}


def _is_time_zone(name: str) -> bool:
    """Return whether the time zone database has a zone of this name."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


class LabelSpec(SpecPart):
    """The outcome of a table.

    Attributes:
        column: Column of the outcome.
        bad: Value that stands for a bad outcome; None to recognise one of the pairs 0 and 1, false and true, and good
            and bad.
        good: Value that stands for a good outcome; None if every value other than `bad` is the same and stands for a good
            outcome. Training rejects a table in which the column has a third value.
    """

    column: str = Field(min_length=1)
    bad: str | int | bool | None = None
    good: str | int | bool | None = None

    @model_validator(mode="after")
    def _check_values(self) -> "LabelSpec":
        """Reject `good` without `bad`."""
        if self.good is not None and self.bad is None:
            raise ValueError("good requires bad, the value of a bad outcome")
        return self


class ReadingSpec(SpecPart):
    """How to read a file. [table], [log] and [status] have these fields in addition to their own.

    Attributes:
        separator: Character between the cells of a text file, or "tab"; None to detect it.
        decimal: Decimal mark of the numbers of a text file; None to detect it.
        thousands: Character between groups of three digits; "" if numbers have none, None to detect it.
        encoding: Encoding of a text file, e.g. "utf-8", "latin-1" or "cp1252"; None to detect it.
        compression: Compression of a text file; None to detect it from its first bytes. The name of the file has no
            influence.
        missing: Cells that stand for a missing value in every column, e.g. ["n.a.", "-"]. An empty cell always stands
            for a missing value. In columns of numbers, times and labels, so do NA, NaN, NULL, None and their usual
            spellings.
        time_format: Format of the days or times: a strftime pattern such as "%d.%m.%Y", or "epoch_s", "epoch_ms", or
            "excel" for Excel's serial numbers. None for ISO 8601, e.g. 2026-01-31 or 2026-01-31T09:30:00.
        time_zone: IANA name of the time zone in which a day begins, e.g. "Europe/Berlin", or a table with a name for
            each market. It is required if the times of the file have a zone or an offset.
        years: First and last year of a valid time. A time in another year is unreadable, because it usually stands for a
            missing time, e.g. 0001-01-01, 1900-01-01, 1970-01-01 or 9999-12-31.
        max_unreadable_share: Largest share of the values of a column that may be unreadable. Up to this
            share, an unreadable number of a table is treated as missing, and a line of a log with an unreadable value is
            excluded.
    """

    separator: Literal[",", ";", "|", "tab"] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal["", ".", ",", " ", "'"] | None = None
    encoding: str | None = Field(default=None, min_length=1)
    compression: Compression | None = None
    missing: tuple[str, ...] = ()
    time_format: str | None = Field(default=None, min_length=1)
    time_zone: str | dict[Market, str] | None = None
    years: tuple[int, int] = (1971, 2200)
    max_unreadable_share: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_marks(self) -> "ReadingSpec":
        """Reject a decimal mark that also separates thousands."""
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError("decimal must differ from thousands")
        return self

    @model_validator(mode="after")
    def _check_years(self) -> "ReadingSpec":
        """Reject years that are not a range between 1 and 9999."""
        if not 1 <= self.years[0] <= self.years[1] <= dt.MAXYEAR:
            raise ValueError(f"years must be the first and the last year, e.g. [1971, 2200], got {[*self.years]}")
        return self

    @model_validator(mode="after")
    def _check_encoding(self) -> "ReadingSpec":
        """Reject an encoding that Python does not know."""
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError as error:
            raise ValueError(f"encoding: unknown encoding {self.encoding!r}; use e.g. 'utf-8' or 'cp1252'") from error
        return self

    @model_validator(mode="after")
    def _check_time(self) -> "ReadingSpec":
        """Reject unknown time zones, and a time_format without a year, month and day."""
        zones = self.time_zone.values() if isinstance(self.time_zone, dict) else [self.time_zone]
        if unknown := sorted(zone for zone in zones if zone is not None and not _is_time_zone(zone)):
            raise ValueError(
                f"time_zone: unknown time zones {', '.join(unknown)}; use IANA names such as Europe/Berlin"
            )
        if self.time_format and self.time_format not in _NUMBER_FORMATS and "%" not in self.time_format:
            raise ValueError(
                "time_format must be a strftime pattern such as '%d.%m.%Y', or one of "
                f"{', '.join(sorted(_NUMBER_FORMATS))}, got {self.time_format!r}"
            )
        return self
