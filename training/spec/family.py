"""The spec file: everything about a family that is data and not code.

What a spec does not say has the default written here. training/README.md shows the smallest spec; credit.toml and
churn.toml are full ones.
"""

import datetime as dt
from typing import Literal

from pydantic import Field, model_validator

from models.bundle_documents import FeatureSource, Grade
from models.identifiers import Code, Family, FeatureName, LocaleTag, Market
from training.errors import SpecInvalid
from training.spec.learning import HashSplit, RivalSpec, SearchSpec
from training.spec.part import SpecPart
from training.spec.scoring import CampaignSpec, RunSpec, ValueSpec
from training.spec.transactions import LogSpec, SnapshotSpec, StatusSpec
from training.spec.validation import (
    DEFAULT_GATES,
    AcknowledgedLeak,
    FairnessSpec,
    GateSpec,
    OutOfTimeSpec,
    ReferencePolicySpec,
)


class ExclusionSpec(SpecPart):
    """Rows to leave out, counted under a code. `where` is a condition in DuckDB SQL over the table's columns."""

    code: Code
    where: str = Field(min_length=1)


class TableSpec(SpecPart):
    """Where the rows of a table-based family come from.

    Attributes:
        path: Parquet or CSV, relative to the spec; --data overrides it.
        label: 1 where the outcome was bad, 0 where it was good.
        market: The market of every row, or use market_column.
        as_of: When the features were known, for every row, or use as_of_column.
        leave_out: Columns that are not features; needed only where no [[features]] are listed.
    """

    path: str | None = None
    customer_id: str
    label: str
    market: Market | None = None
    market_column: str | None = None
    as_of: dt.date | None = None
    as_of_column: str | None = None
    leave_out: tuple[str, ...] = ()
    exclude: tuple[ExclusionSpec, ...] = ()

    @model_validator(mode="after")
    def _check_market_and_time(self) -> "TableSpec":
        """Refuse a table whose market or time is stated twice or not at all."""
        for constant in ("market", "as_of"):
            if (getattr(self, constant) is None) == (getattr(self, f"{constant}_column") is None):
                raise ValueError(f"give either {constant} or {constant}_column")
        return self


class FeatureEntry(SpecPart):
    """One feature of the model; see models.bundle_documents.FeatureSpec. `column` is its column where it has another name."""

    name: FeatureName
    kind: Literal["number", "category"] = "number"
    column: str | None = None
    description: str = ""
    unit: str = ""
    min: float | None = None
    max: float | None = None
    source: FeatureSource = "STORE"
    mandatory: bool = False
    sign: Literal[-1, 0, 1] = 0
    group: Code | None = None
    texts: dict[LocaleTag, str] = Field(default_factory=dict)


class GroupEntry(SpecPart):
    """A reason group and its sentence by locale; see models.bundle_documents.GroupSpec."""

    code: Code
    actionable: bool = False
    texts: dict[LocaleTag, str]


class ScoreSpec(SpecPart):
    """Scaling and master scale.

    Attributes:
        master_scale_version: Raised by whoever changes the grades; every answer's grade is one of this scale.
        grades: Boundaries, fixed on development rows.
    """

    base_score: int = 600
    base_odds: float = Field(default=50.0, gt=0)
    pdo: float = Field(default=20.0, gt=0)
    master_scale_version: str = Field(default="default-1", min_length=1)
    grades: tuple[Grade, ...] = (
        Grade(grade="A", max_pd=0.05),
        Grade(grade="B", max_pd=0.10),
        Grade(grade="C", max_pd=0.15),
        Grade(grade="D", max_pd=0.20),
        Grade(grade="E", max_pd=0.30),
        Grade(grade="F", max_pd=0.50),
        Grade(grade="G", max_pd=1.0),
    )


class BaselineSpec(SpecPart):
    """Whom explanations compare with: development rows with a pd in the band; all of them by default.

    Attributes:
        method: "interventional" compares with these rows one by one; "path_dependent" with the training
            rows by the covers of the splits, as LightGBM's pred_contrib does.
    """

    method: Literal["interventional", "path_dependent"] = "interventional"

    definition: str = "all customers of the development sample"
    min_pd: float = Field(default=0.0, ge=0, le=1)
    max_pd: float = Field(default=1.0, ge=0, le=1)


class Spec(SpecPart):
    """A family."""

    family: Family
    title: str
    purpose: str
    not_for: tuple[str, ...] = ()
    population: str
    table: TableSpec | None = None
    split: HashSplit = HashSplit()
    log: LogSpec | None = None
    status: StatusSpec | None = None
    snapshots: SnapshotSpec | None = None
    campaign: CampaignSpec = CampaignSpec()
    run: RunSpec = RunSpec()
    cross_validation_folds: int = Field(default=0, ge=0, le=20)
    search: SearchSpec = SearchSpec()
    score: ScoreSpec = ScoreSpec()
    baseline: BaselineSpec = BaselineSpec()
    rivals: tuple[RivalSpec, ...] = (
        RivalSpec(name="logistic regression", kind="logistic"),
        RivalSpec(name="WOE scorecard", kind="scorecard"),
    )
    out_of_time: OutOfTimeSpec | None = None
    reference_policy: ReferencePolicySpec | None = None
    fairness: FairnessSpec = FairnessSpec()
    leaks_acknowledged: tuple[AcknowledgedLeak, ...] = ()
    gates: tuple[GateSpec, ...] = DEFAULT_GATES
    value: ValueSpec | None = None
    features: tuple[FeatureEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()

    @model_validator(mode="after")
    def _check_source(self) -> "Spec":
        """Refuse a spec that is both or neither of the two shapes."""
        if (self.table is None) == (self.log is None):
            raise ValueError("give either [table] or [log]")
        if self.log is not None and (self.snapshots is None or not self.features):
            raise ValueError("a [log] needs [snapshots] and [[features]]")
        if self.table is None and (self.fairness.attributes or self.out_of_time):
            raise ValueError(
                "[fairness] and [out_of_time] need a [table]; the test snapshots of a [log] are later ones"
            )
        if self.log is None and (self.status or any(rival.kind == "bg_nbd" for rival in self.rivals)):
            raise ValueError("[status] and a rival bg_nbd need a [log]")
        if self.fairness.attributes and self.reference_policy is None:
            raise ValueError("[fairness] needs a [reference_policy], whose decisions it compares")
        return self

    @model_validator(mode="after")
    def _check_forward(self) -> "Spec":
        """Refuse a log whose parameters would be chosen, or judged, by looking ahead."""
        if self.snapshots is not None and len(self.snapshots.fit) > 1 and self.search.validation == "folds":
            raise ValueError(
                "search.validation = 'folds' mixes the snapshots of a [log], so a customer's later row would judge what "
                "was learnt from an earlier one; say validation = 'forward'"
            )
        if self.log is not None and self.cross_validation_folds:
            raise ValueError(
                "cross_validation_folds mix the snapshots of a [log]; leave it out: the test snapshots are later ones"
            )
        return self

    @model_validator(mode="after")
    def _check_features(self) -> "Spec":
        """Refuse features named twice, and leaks acknowledged of features that are none."""
        names = [feature.name for feature in self.features]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"features named twice: {', '.join(twice)}")
        named = {name for one in self.leaks_acknowledged for name in one.features}
        if names and (strangers := sorted(named - set(names))):
            raise ValueError(f"leaks_acknowledged names no feature: {', '.join(strangers)}")
        return self


def check_feature_names(spec: Spec, columns: tuple[str, ...]) -> None:
    """Refuse rivals and a [value] that name what is not among the features that are there.

    Raises:
        SpecInvalid: Names them by field, with what is there.
    """
    wanted = [
        (f"rivals.{rival.name}", name, rival.kind == "scorecard") for rival in spec.rivals for name in rival.features
    ]
    if spec.value is not None:
        wanted.append(("value", spec.value.feature, False))
    own = {feature.name for feature in spec.features}
    strangers = [
        f"  {field}: {name!r}"
        for field, name, is_signed in wanted
        if name not in columns or (is_signed and name not in own)
    ]
    if strangers:
        offered = ", ".join(columns)
        raise SpecInvalid("\n".join(["features that are not there:", *strangers, f"there are: {offered}"]))
