"""The rows that a model learns from and is judged on, and how they were come by."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Sample = Literal["FIT", "CALIBRATION", "HOLD_OUT", "OUT_OF_TIME", "NONE"]


@dataclass(frozen=True, slots=True)
class Samples:
    """Every row with its features, label and part.

    Attributes:
        rows: Columns market, customer_id, as_of, label (0 or 1), sample, period, the features, and the
            attributes that are kept out of the model, as training.sources.protected_attributes names them. Rows of sample
            NONE are in no part: later rows of customers whom the model knows.
            `period` is the cut date of a snapshot, or "" in a table.
        names: The features, in the order of the schema.
        waterfall: (what, count) from the rows read to the rows used; left-out rows are negative.
        data_sha256: Digest of the data as read.
        levels: Of every category feature, in the order of their codes; the fit part's.
        histories: Of a log: purchase_days, recency_days and tenure_days of everyone who had ever bought when the newest
            development snapshot was taken, also of those who are long gone; None where nobody asks for them.
    """

    rows: pd.DataFrame
    names: tuple[str, ...]
    waterfall: tuple[tuple[str, int], ...]
    data_sha256: str
    levels: Mapping[str, tuple[str, ...]]
    histories: pd.DataFrame | None = None

    def part(self, *samples: Sample) -> pd.DataFrame:
        """Give the rows of these parts, in the order of the table."""
        return self.rows[self.rows["sample"].isin(samples)]

    def category_positions(self) -> list[int]:
        """Give the places of the category features."""
        return [place for place, name in enumerate(self.names) if name in self.levels]

    def features(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Give the features of some rows: shape (n, n_features), NaN where missing."""
        return np.ascontiguousarray(rows[list(self.names)].to_numpy(dtype=np.float64))


def label_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Give the labels of some rows: 1 where the outcome was bad."""
    labels: NDArray[np.int64] = rows["label"].to_numpy(dtype=np.int64)
    return labels


def hash_bucket(customer_id: str, buckets: int) -> int:
    """Put a customer into one of so many buckets, the same on every machine and in every run."""
    return int(hashlib.sha256(customer_id.encode()).hexdigest(), 16) % buckets
