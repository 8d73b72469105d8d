"""The part of the spec about validation: reference policy, fairness, acknowledged leaks, and the release gates.

How good a model must be is data of the spec, never code.
"""

import datetime as dt
from typing import Annotated

from pydantic import Field, model_validator

from models.identifiers import FeatureName
from training.spec.part import SpecPart

_ColumnName = Annotated[str, Field(min_length=1)]


class ReferencePolicySpec(SpecPart):
    """PD cut-offs at which swap sets and fairness are measured. The server decides by its own policy file.

    Attributes:
        approve_max_pd: Approved up to and including it.
        refer_max_pd: Referred to a person up to and including it; declined above it.
    """

    approve_max_pd: float = Field(gt=0, lt=1)
    refer_max_pd: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _check_order(self) -> "ReferencePolicySpec":
        """Require approve_max_pd <= refer_max_pd."""
        if self.approve_max_pd > self.refer_max_pd:
            raise ValueError("approve_max_pd must not exceed refer_max_pd")
        return self


class AttributeSpec(SpecPart):
    """A protected attribute: the model must not use its column, and decisions are compared between its groups.

    Attributes:
        names: Display name of each value; a value without one is shown as it is.
        bands: For a numeric column: the lower ends of the second, third, ... group, ascending; exclusive with names.
    """

    column: _ColumnName
    names: dict[str, str] = Field(default_factory=dict)
    bands: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check_groups(self) -> "AttributeSpec":
        """Reject names beside bands, and bands that do not ascend."""
        if self.names and self.bands:
            raise ValueError("set only one of names and bands")
        if any(low >= high for low, high in zip(self.bands, self.bands[1:], strict=False)):
            raise ValueError("bands must ascend")
        return self


class FairnessSpec(SpecPart):
    """The protected attributes of the fairness tables. Groups with fewer than `rows_min` rows are pooled."""

    attributes: tuple[AttributeSpec, ...] = ()
    rows_min: int = Field(default=30, ge=1)


class AcknowledgedLeak(SpecPart):
    """Features with an information value above 0.5, and the reason why that is not a leak."""

    features: tuple[FeatureName, ...] = Field(min_length=1)
    reason: str = Field(min_length=1)


class GateSpec(SpecPart):
    """A release gate: bounds of one figure that a model must meet to be released.

    Attributes:
        figure: Name of the figure in metrics.json, e.g. "hold_out.auc".
        min: Smallest value that passes.
        max: Largest value that passes.
        not_below: Pattern of other figures with * as wildcard, e.g. "rival.*.auc"; none of them may be higher.
        ahead_by: With not_below: the required lead over each of them.
    """

    figure: str = Field(min_length=1)
    min: float | None = None
    max: float | None = None
    not_below: str | None = None
    ahead_by: float = 0.0

    @model_validator(mode="after")
    def _check_bounds(self) -> "GateSpec":
        """Reject a gate without a bound."""
        if self.min is None and self.max is None and self.not_below is None:
            raise ValueError("set at least one of min, max and not_below")
        return self


# Every family must rank better than chance and keep the signs of its features.
DEFAULT_GATES = (GateSpec(figure="hold_out.auc", min=0.5), GateSpec(figure="monotone.violations", max=0))


class OutOfTimeSpec(SpecPart):
    """Rows from a day on form a sample of their own: the model is not fitted on them, and they are measured separately.

    Only rows of hold-out customers are used; the model was fitted on the others, so their later rows are excluded.
    """

    first_day: dt.date
