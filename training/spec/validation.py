"""The terms on which a model is judged and released: the part of the spec that is about validation.

Everything here is data. No code decides what is good enough.
"""

import datetime as dt
from typing import Annotated

from pydantic import Field, model_validator

from models.identifiers import FeatureName
from training.spec.part import SpecPart

_ColumnName = Annotated[str, Field(min_length=1)]


class ReferencePolicySpec(SpecPart):
    """Cut-offs at which swap sets and fairness are counted. What the desk decides by is the server's policy.

    Attributes:
        approve_max_pd: Approved up to and including it.
        refer_max_pd: A person looks up to and including it; declined above.
    """

    approve_max_pd: float = Field(gt=0, lt=1)
    refer_max_pd: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _check_order(self) -> "ReferencePolicySpec":
        """Refuse cut-offs in the wrong order."""
        if self.approve_max_pd > self.refer_max_pd:
            raise ValueError("approve_max_pd lies above refer_max_pd")
        return self


class AttributeSpec(SpecPart):
    """A column that the model must not see, and whose groups decisions are compared between.

    Attributes:
        names: What each value is called; a value without a name is called by itself.
        bands: Of a number: where the second, third ... group begins, ascending; instead of names.
    """

    column: _ColumnName
    names: dict[str, str] = Field(default_factory=dict)
    bands: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check_groups(self) -> "AttributeSpec":
        """Refuse names beside bands, and bands that do not ascend."""
        if self.names and self.bands:
            raise ValueError("give either names or bands")
        if any(low >= high for low, high in zip(self.bands, self.bands[1:], strict=False)):
            raise ValueError("bands must ascend")
        return self


class FairnessSpec(SpecPart):
    """Attributes kept out of the model, for the fairness tables. Groups below `rows_min` rows are pooled."""

    attributes: tuple[AttributeSpec, ...] = ()
    rows_min: int = Field(default=30, ge=1)


class AcknowledgedLeak(SpecPart):
    """Features whose information value is above 0.5, and why that is no leak."""

    features: tuple[FeatureName, ...] = Field(min_length=1)
    reason: str = Field(min_length=1)


class GateSpec(SpecPart):
    """A line that a model must pass to be released.

    Attributes:
        figure: Its name in metrics.json, e.g. "hold_out.auc".
        min: Smallest value that passes.
        max: Largest value that passes.
        not_below: Name of other figures, * for any part of it, e.g. "rival.*.auc"; none of them may be higher.
        ahead_by: With not_below: by so much at least.
    """

    figure: str = Field(min_length=1)
    min: float | None = None
    max: float | None = None
    not_below: str | None = None
    ahead_by: float = 0.0

    @model_validator(mode="after")
    def _check_bounds(self) -> "GateSpec":
        """Refuse a gate that everything passes."""
        if self.min is None and self.max is None and self.not_below is None:
            raise ValueError("give min, max or not_below")
        return self


# A promise that the spec makes in public is kept, and a ranking that is worse than a coin is none: in any family.
DEFAULT_GATES = (GateSpec(figure="hold_out.auc", min=0.5), GateSpec(figure="monotone.violations", max=0))


class OutOfTimeSpec(SpecPart):
    """Rows from a day on are apart: nothing is learnt from them, and they are judged by themselves.

    Only those of customers of the hold-out are; others are left out, because the model knows these customers.
    """

    first_day: dt.date
