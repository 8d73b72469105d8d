"""The rows that a model is fitted, calibrated and measured on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.sources.reader.column_summary import ColumnSummary

Sample = Literal["FIT", "CALIBRATION", "HOLD_OUT", "OUT_OF_TIME", "NONE"]
# Pairs (label, count) that begin with the rows or lines read; the counts of excluded rows or lines are negative.
Waterfall = tuple[tuple[str, int], ...]

# Column of the weights. The name of a feature cannot have a colon, so no feature can have this name.
WEIGHT = "sample:weight"
# Keys of a manifest: the hold-out of a table, as in Samples.hold_out, and the last day of the development rows of a log.
HOLD_OUT, LAST_DAY = "split.hold_out", "snapshots.last_day"


@dataclass(frozen=True, slots=True)
class Samples:
    """The rows of a family, each with its features, its label and the part (sample) to which it belongs.

    Attributes:
        rows: One row for each market, customer and time. The columns are market, customer_id, as_of (UTC), label (0 or
            1), sample, period, the features, and the protected attributes (see training.sources.protected_attributes).
            `period` is the cut date of a snapshot, and "" for a table. The sample NONE contains the rows that are not
            used: late rows of customers with an earlier row in the fit or calibration part. The column WEIGHT exists
            only if the spec has weights.
        names: Names of the features, in the order of the schema.
        waterfall: Pairs (label, count) that begin with the rows or lines read; the counts of excluded rows are
            negative.
        data_sha256: SHA-256 of the files that were read.
        levels: For every category feature, the levels that occur in the fit part, in the order of their codes.
        histories: The columns purchase_days, recency_days and tenure_days of all customers who bought before the newest
            calibration snapshot, including inactive customers; None unless the spec has a BG/NBD rival.
        columns: What training does with each column of the source, in the order of the source.
        confirmation: One line that states how the source was read.
        rejected: Rejected applicants, with the columns of `rows` except the label and the protected attributes; None if
            the spec has no [table.reject].
        hold_out: The buckets of the hold-out, e.g. "0 of 5"; "" for a log, whose hold-out consists of later days.
        left_out_markets: Markets of the data whose rows are all left out, because the markets are too small.
    """

    rows: pd.DataFrame
    names: tuple[str, ...]
    waterfall: Waterfall
    data_sha256: str
    levels: Mapping[str, tuple[str, ...]]
    histories: pd.DataFrame | None = None
    columns: tuple[ColumnSummary, ...] = ()
    confirmation: str = ""
    left_out_markets: tuple[str, ...] = ()
    rejected: pd.DataFrame | None = None
    hold_out: str = ""

    def part(self, *samples: Sample) -> pd.DataFrame:
        """Return the rows of the given samples, in the order of the table."""
        return self.rows[self.rows["sample"].isin(samples)]

    def parts_record(self) -> dict[str, str]:
        """Return what a manifest records about the parts, so that a later comparison knows which rows a model has seen."""
        if self.hold_out:
            return {HOLD_OUT: self.hold_out}
        days = self.part("FIT", "CALIBRATION")["as_of"]
        return {} if days.empty else {LAST_DAY: str(days.max().date())}

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


def customer_of(rows: pd.DataFrame) -> NDArray[np.str_]:
    """Return the customer of each row, shape (n,). The same customer_id in two markets stands for two customers."""
    return (rows["market"].astype(str) + "|" + rows["customer_id"].astype(str)).to_numpy(dtype=np.str_)


def weight_of(rows: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return the weights of the given rows, shape (n,); None if the spec has no weights."""
    return rows[WEIGHT].to_numpy(dtype=np.float64) if WEIGHT in rows.columns else None


def hash_bucket(customer_id: str, buckets: int) -> int:
    """Return the bucket of a customer, from 0 to buckets - 1. The result is the same in every run."""
    # hash() would not be reproducible, because Python salts the hash of a string in each process.
    return int(hashlib.sha256(customer_id.encode()).hexdigest(), 16) % buckets
