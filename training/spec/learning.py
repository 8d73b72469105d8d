"""The part of the spec about fitting: the split, the parameter search, and the rivals to compare with."""

from typing import Literal

from pydantic import Field, model_validator

from models.identifiers import FeatureName
from training.spec.part import SpecPart


class HashSplit(SpecPart):
    """The split of a table by customer.

    The bucket of a customer is int(sha256(customer_id), 16) % buckets.

    Attributes:
        buckets: Number of buckets.
        hold_out: Buckets of the hold-out part.
        calibration: Buckets of the calibration part; all remaining buckets belong to the fit part.
    """

    buckets: int = Field(default=5, ge=2, le=1000)
    hold_out: tuple[int, ...] = Field(default=(0,), min_length=1)
    calibration: tuple[int, ...] = Field(default=(1,), min_length=1)

    @property
    def hold_out_name(self) -> str:
        """Return the buckets of the hold-out, e.g. "0 of 5"."""
        return f"{', '.join(map(str, sorted(self.hold_out)))} of {self.buckets}"

    @model_validator(mode="after")
    def _check_buckets(self) -> "HashSplit":
        """Reject unknown buckets, duplicate buckets, and a split without a fit part."""
        listed = (*self.hold_out, *self.calibration)
        if unknown := sorted({bucket for bucket in listed if not 0 <= bucket < self.buckets}):
            raise ValueError(
                f"unknown buckets {unknown}: with buckets = {self.buckets}, a bucket must be from 0 to {self.buckets - 1}"
            )
        if len(set(listed)) != len(listed):
            raise ValueError("a bucket may be listed once only, in hold_out or in calibration")
        if len(listed) == self.buckets:
            raise ValueError("no bucket is left for the fit part; list fewer buckets, or increase buckets")
        return self


class SearchSpec(SpecPart):
    """The parameter search, which uses only the fit part.

    Attributes:
        trials: Number of parameter sets to try.
        seed: Seed of the search and of the folds.
        folds: Number of folds; with "forward", number of snapshots to validate on.
        validation: "folds" validates on random folds of the fit part. "forward" fits on the earlier snapshots of the
            fit part, and validates on a later snapshot of the fit part.
        max_leaves: Largest number of leaves of a tree.
        learning_rate_min: Smallest learning rate; the largest is 0.12. A lower learning rate needs more trees.
    """

    trials: int = Field(default=20, ge=1, le=1000)
    seed: int = 0
    folds: int = Field(default=3, ge=2, le=20)
    validation: Literal["folds", "forward"] = "folds"
    max_leaves: int = Field(default=8, ge=2, le=64)
    learning_rate_min: float = Field(default=0.03, ge=0.001, le=0.12)


class RivalSpec(SpecPart):
    """A benchmark model (rival): a simpler model that the model is compared with.

    Attributes:
        name: Name of the rival in the report and in metrics.json.
        kind: "single" ranks by a single feature, "logistic" is a logistic regression, "scorecard" is a WOE scorecard,
            and "bg_nbd" is a BG/NBD model of a transaction log.
        features: Features of the rival. If empty, "scorecard" and "logistic" use all features. "bg_nbd" uses purchase
            days, recency and tenure instead of features.
        logarithms: Whether "single" and "logistic" use the logarithms of the features, log(1 + |x|) with the sign of x,
            instead of the values. Without it, "single" uses the value, and "logistic" uses the value and its logarithm.
    """

    name: str
    kind: Literal["single", "logistic", "scorecard", "bg_nbd"]
    features: tuple[FeatureName, ...] = ()
    logarithms: bool = False

    @model_validator(mode="after")
    def _check_features(self) -> "RivalSpec":
        """Require exactly one feature for the kind "single", and no features for the kind "bg_nbd"."""
        if self.kind == "single" and len(self.features) != 1:
            raise ValueError(f"features: kind = 'single' requires exactly 1 feature, got {len(self.features)}")
        if self.kind == "bg_nbd" and self.features:
            raise ValueError("features: kind = 'bg_nbd' does not use features; remove them")
        return self


# The benchmark models that every model is compared with, in addition to those of its spec.
TABLE_RIVALS = (
    RivalSpec(name="WOE scorecard", kind="scorecard"),
    RivalSpec(name="logistic regression", kind="logistic"),
)
LOG_RIVALS = (
    RivalSpec(name="recency alone", kind="single", features=("recency_days",)),
    RivalSpec(
        name="logistic on recency, frequency, money of the whole history",
        kind="logistic",
        features=("recency_days", "purchase_days", "spend_total"),
        logarithms=True,
    ),
)
BG_NBD_RIVAL = RivalSpec(name="BG/NBD", kind="bg_nbd")
