"""The part of the spec about fitting: the split, the parameter search, and the rivals to compare with."""

from typing import Literal

from pydantic import Field, model_validator

from models.identifiers import FeatureName
from training.spec.part import SpecPart


class HashSplit(SpecPart):
    """Split by customer: int(sha256(customer_id), 16) % buckets; buckets listed nowhere belong to the fit part."""

    buckets: int = Field(default=5, ge=2, le=1000)
    hold_out: tuple[int, ...] = Field(default=(0,), min_length=1)
    calibration: tuple[int, ...] = Field(default=(1,), min_length=1)

    @model_validator(mode="after")
    def _check_buckets(self) -> "HashSplit":
        """Reject unknown buckets, buckets in both parts, and a split without a fit part."""
        named = (*self.hold_out, *self.calibration)
        if odd := sorted({one for one in named if not 0 <= one < self.buckets}):
            raise ValueError(f"unknown buckets {odd}; with buckets = {self.buckets} they are 0 to {self.buckets - 1}")
        if len(set(named)) != len(named):
            raise ValueError("a bucket may be listed once only, in hold_out or in calibration")
        if len(named) == self.buckets:
            raise ValueError("no bucket is left for the fit part; list fewer buckets, or increase buckets")
        return self


class SearchSpec(SpecPart):
    """The parameter search: seeded, limited by a number of trials, on the fit part only.

    Attributes:
        validation: "folds" of the fit part, or "forward": fit on earlier snapshots, validate on later ones.
        learning_rate_min: Smallest learning rate tried; the largest is 0.12. A smaller rate needs more trees.
    """

    trials: int = Field(default=20, ge=1, le=1000)
    seed: int = 0
    folds: int = Field(default=3, ge=2, le=20)
    validation: Literal["folds", "forward"] = "folds"
    max_leaves: int = Field(default=8, ge=2, le=64)
    learning_rate_min: float = Field(default=0.03, ge=0.001, le=0.12)


class RivalSpec(SpecPart):
    """A simpler model to compare with: a single feature, a logistic regression, a WOE scorecard, or BG/NBD.

    BG/NBD takes no features: it uses the purchase days, recency and tenure of a transaction log.
    """

    name: str
    kind: Literal["single", "logistic", "scorecard", "bg_nbd"]
    features: tuple[FeatureName, ...] = ()
    logarithms: bool = False

    @model_validator(mode="after")
    def _check_features(self) -> "RivalSpec":
        """Check the number of features that the kind takes."""
        if self.kind == "single" and len(self.features) != 1:
            raise ValueError(f"features: kind = 'single' takes exactly 1, got {len(self.features)}")
        if self.kind == "bg_nbd" and self.features:
            raise ValueError("features: kind = 'bg_nbd' takes none")
        return self
