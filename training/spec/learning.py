"""The part of the spec that is about learning: which rows, which parameters are tried, which rules stand beside."""

from typing import Literal

from pydantic import Field, model_validator

from models.identifiers import FeatureName
from training.spec.part import SpecPart


class HashSplit(SpecPart):
    """Split by customer: int(sha256(customer_id), 16) % buckets; buckets named nowhere are for fitting."""

    buckets: int = Field(default=5, ge=2, le=1000)
    hold_out: tuple[int, ...] = Field(default=(0,), min_length=1)
    calibration: tuple[int, ...] = Field(default=(1,), min_length=1)

    @model_validator(mode="after")
    def _check_buckets(self) -> "HashSplit":
        """Refuse buckets that are none, or stand in both parts, and a split that leaves nothing to fit on."""
        named = (*self.hold_out, *self.calibration)
        if odd := sorted({one for one in named if not 0 <= one < self.buckets}):
            raise ValueError(
                f"buckets {odd} are not there; with buckets = {self.buckets} they are 0 to {self.buckets - 1}"
            )
        if len(set(named)) != len(named):
            raise ValueError("a bucket is named twice; hold_out and calibration share none")
        if len(named) == self.buckets:
            raise ValueError("no bucket is left to fit on; name fewer, or raise buckets")
        return self


class SearchSpec(SpecPart):
    """The parameter search: seeded, bounded by trials, on the fit part only.

    Attributes:
        validation: "folds" of the fit part, or "forward": fit on earlier snapshots, look at later ones.
        learning_rate_min: Smallest step that is tried; the largest is 0.12. A smaller step takes more trees.
    """

    trials: int = Field(default=20, ge=1, le=1000)
    seed: int = 0
    folds: int = Field(default=3, ge=2, le=20)
    validation: Literal["folds", "forward"] = "folds"
    max_leaves: int = Field(default=8, ge=2, le=64)
    learning_rate_min: float = Field(default=0.03, ge=0.001, le=0.12)


class RivalSpec(SpecPart):
    """A simpler rule to be better than: one feature alone, a logistic regression on some, a WOE scorecard, or BG/NBD.

    BG/NBD takes no features: it looks at purchase days, recency and tenure of a log.
    """

    name: str
    kind: Literal["single", "logistic", "scorecard", "bg_nbd"]
    features: tuple[FeatureName, ...] = ()
    logarithms: bool = False

    @model_validator(mode="after")
    def _check_features(self) -> "RivalSpec":
        """Refuse a single feature that is not one, and features that BG/NBD would not look at."""
        if self.kind == "single" and len(self.features) != 1:
            raise ValueError("kind = 'single' takes one feature")
        if self.kind == "bg_nbd" and self.features:
            raise ValueError("kind = 'bg_nbd' takes no features")
        return self
