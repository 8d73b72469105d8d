"""The rows that a model is fitted, calibrated and measured on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Sample = Literal["FIT", "CALIBRATION", "HOLD_OUT", "OUT_OF_TIME", "NONE"]
# (label, count) from the rows read to the rows used; the counts of excluded rows are negative.
Waterfall = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """The rows of a family, each with its features, its label and the part (sample) to which it belongs.

    Attributes:
        rows: One row for each market, customer and time. The columns are market, customer_id, as_of (UTC), label (0 or
            1), sample, period, the features, and the protected attributes (see training.sources.protected_attributes).
            `period` is the cut date of a snapshot, and "" for a table. The sample NONE contains the rows that are not
            used: late rows of customers on whom the model was fitted.
        names: Names of the features, in the order of the schema.
        waterfall: (label, count) from the rows read to the rows used; the counts of excluded rows are negative.
        data_sha256: SHA-256 of the files that were read.
        levels: Levels of every category feature that occur in the fit part, in the order of their codes.
        histories: purchase_days, recency_days and tenure_days of all customers who bought before the newest calibration
            snapshot, including inactive customers; None unless a log has a BG/NBD rival.
    """

    rows: pd.DataFrame
    names: tuple[str, ...]
    waterfall: Waterfall
    data_sha256: str
    levels: Mapping[str, tuple[str, ...]]
    histories: pd.DataFrame | None = None

    def part(self, *samples: Sample) -> pd.DataFrame:
        """Return the rows of the given samples, in the order of the table."""
        return self.rows[self.rows["sample"].isin(samples)]

    def category_positions(self) -> list[int]:
        """Return the positions of the category features in `names`."""
        return [position for position, name in enumerate(self.names) if name in self.levels]

    def features(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Return the features of the given rows: shape (n, n_features), NaN where missing."""
        return np.ascontiguousarray(rows[list(self.names)].to_numpy(dtype=np.float64))


def label_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Return the labels of the given rows: shape (n,), 1 where the outcome was bad."""
    labels: NDArray[np.int64] = rows["label"].to_numpy(dtype=np.int64)
    return labels


def hash_bucket(customer_id: str, buckets: int) -> int:
    """Return the bucket of a customer, from 0 to buckets - 1; the same on every machine and in every run."""
    # SHA-256 rather than hash(): Python's hash of a string is salted per process.
    return int(hashlib.sha256(customer_id.encode()).hexdigest(), 16) % buckets


def category_name(value: object) -> str:
    """Return a category's value as text, and a whole number without a decimal point.

    pandas converts a column of integers with missing values to floats.
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
