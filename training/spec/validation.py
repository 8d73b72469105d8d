"""The part of the spec about validation: reference policy, fairness, acknowledged leaks, and the release gates.

The required quality of a model is stated in the spec, never in the code.
"""

import datetime as dt
from typing import Annotated

from pydantic import Field, model_validator

from models.identifiers import FeatureName
from training.spec.part import SpecPart

_ColumnName = Annotated[str, Field(min_length=1)]


class ReferencePolicySpec(SpecPart):
    """The PD cut-offs at which swap sets and fairness are measured. The server uses its own policy file.

    Attributes:
        approve_max_pd: Highest PD of an approved applicant.
        refer_max_pd: Highest PD of an applicant who is referred to a person. An applicant with a higher PD is declined.
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
    """A protected attribute. The model must not use its column; decisions are compared between its groups.

    Attributes:
        column: Column of the attribute.
        names: Display name of each value; a value without a display name is shown unchanged. Cannot be combined with
            bands.
        bands: Lower bounds of the second and all further groups of a numeric column, in ascending order. Cannot be
            combined with names.
    """

    column: _ColumnName
    names: dict[str, str] = Field(default_factory=dict)
    bands: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check_groups(self) -> "AttributeSpec":
        """Reject an attribute that sets both names and bands, or whose bands do not ascend."""
        if self.names and self.bands:
            raise ValueError("set only one of names and bands")
        if any(low >= high for low, high in zip(self.bands, self.bands[1:], strict=False)):
            raise ValueError("bands must ascend")
        return self


class FairnessSpec(SpecPart):
    """The protected attributes of the fairness tables.

    Attributes:
        attributes: The protected attributes.
        rows_min: Smallest number of rows of a group; smaller groups are pooled.
    """

    attributes: tuple[AttributeSpec, ...] = ()
    rows_min: int = Field(default=30, ge=1)


class AcknowledgedLeak(SpecPart):
    """Features with an information value above 0.5, and the reason why they do not leak the outcome."""

    features: tuple[FeatureName, ...] = Field(min_length=1)
    reason: str = Field(min_length=1)


class GateSpec(SpecPart):
    """A release gate: bounds of one figure that a model must meet to be released.

    Attributes:
        figure: Name of the figure in metrics.json, e.g. "hold_out.auc".
        min: Smallest value that passes.
        max: Largest value that passes.
        not_below: Pattern of the names of other figures, with * as a wildcard, e.g. "rival.*.auc". The figure must not
            be below any figure that matches the pattern.
        ahead_by: Smallest amount by which the figure must exceed each figure that matches not_below. A negative amount
            allows the figure to be below the other figure by that amount.
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


# Every model must rank at least as well as chance, and satisfy the monotone constraints (`sign`) of its features.
DEFAULT_GATES = (GateSpec(figure="hold_out.auc", min=0.5), GateSpec(figure="monotone.violations", max=0))


class OutOfTimeSpec(SpecPart):
    """The out-of-time sample: late rows of a table. The model is not fitted on them, and has separate figures for them.

    A late row is excluded if an earlier row of the same customer is in the fit or calibration part, because the model
    already knows the customer.

    Attributes:
        first_day: First day of the late rows.
    """

    first_day: dt.date
