"""A feature value with its source."""

import datetime as dt
from typing import Literal, NamedTuple

from models.schema import FeatureInput


class SourcedValue(NamedTuple):
    """A feature value with its source.

    `as_of` is the time to which a stored value refers. It is None if the caller sent the value.
    """

    value: FeatureInput
    source: Literal["STORE", "CALLER"]
    as_of: dt.datetime | None
