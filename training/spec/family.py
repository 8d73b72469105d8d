"""The spec of a model family: its rows, features, reason groups, score scale and baseline.

This package defines the default of every field. training/README.md shows the smallest spec; training/credit.toml and
training/churn.toml use most fields.
"""

import datetime as dt
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from models.bundle_documents import FeatureSource, Grade
from models.identifiers import Code, Family, FeatureName, LocaleTag, Market
from training.errors import SpecInvalid, shorten_list
from training.spec.learning import BG_NBD_RIVAL, LOG_RIVALS, TABLE_RIVALS, HashSplit, RivalSpec, SearchSpec
from training.spec.levels import level_problem
from training.spec.log_defaults import fill_log_defaults
from training.spec.mapping import MappedColumn
from training.spec.markets import MarketsSpec
from training.spec.part import SpecPart
from training.spec.reading import LabelSpec, Marker, ReadingSpec
from training.spec.scoring import CampaignSpec, RunSpec, ValueSpec
from training.spec.sources import PathList, QuerySpec
from training.spec.transactions import AliasSpec, LogSpec, SnapshotSpec, StatusSpec
from training.spec.validation import (
    DEFAULT_GATES,
    AcknowledgedLeak,
    FairnessSpec,
    GateSpec,
    OutOfTimeSpec,
    ReferencePolicySpec,
)

_NAMES_SHOWN = 20


class ExclusionSpec(SpecPart):
    """A rule that excludes rows of a table.

    Attributes:
        code: Code under which the waterfall counts the excluded rows.
        where: DuckDB SQL condition over the columns of the same row; a row is excluded if the condition is true for the
            row. Days and times are compared with quoted ISO days, in whichever format the file has them.
    """

    code: Code
    where: str = Field(min_length=1)


class RejectSpec(SpecPart):
    """The rejected applicants of a table, whose outcomes are unknown, for a sensitivity run in the report.

    The released model never uses these rows. For each share, the report states how the model would differ if it had been
    fitted with them and this share of them had a bad outcome.

    Attributes:
        where: DuckDB SQL condition over the columns of the table; a row is a rejected applicant if the condition is true.
            Values of the label are ignored in these rows.
        bad_shares: Assumed shares of bad outcomes among the rejected applicants, each above 0 and below 1.
    """

    where: str = Field(min_length=1)
    bad_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(min_length=1, max_length=10)

    @model_validator(mode="after")
    def _check_shares(self) -> "RejectSpec":
        """Require ascending shares."""
        if any(low >= high for low, high in pairwise(self.bad_shares)):
            raise ValueError("bad_shares must ascend")
        return self


class TableSpec(ReadingSpec):
    """The table of customers that a family learns from.

    Attributes:
        path: Path of a file, a folder or a glob pattern, or a list of such paths, relative to the spec file; --data
            overrides it. Cannot be combined with source.
        source: Query of a database, whose rows are read instead of a file.
        customer_id: Column of the customer. Here and in the other fields, an SQL expression over the columns of the
            same row, such as "balance / credit_limit", may replace the name of a column.
        label: The outcome: the name of its column, or a table such as { column = "paid", bad = "N" }.
        market: Market of every row, if the table has no column of the market; cannot be combined with market_column.
        market_column: Column of the market; cannot be combined with market.
        market_map: Table of values that converts a column to the market. A spec file sets it with market = { column =
            "Country", map = "countries.csv" }.
        as_of: Day on which the features of every row were known; cannot be combined with as_of_column.
        as_of_column: Column of the day or time at which the features of the row were known; cannot be combined with
            as_of.
        weight: Column with the weight of each row, a number above 0; None if every row counts equally. The fit and the
            parameter search use the weights. The calibration and all figures count every row equally.
        leave_out: Columns that are not features; used only if the spec lists no [[features]].
        exclude: Exclusions, applied in the order of the list.
        reject: The rejected applicants among the other rows; None if the table has none.
    """

    path: PathList | None = None
    source: QuerySpec | None = None
    customer_id: str
    label: LabelSpec
    market: Market | None = None
    market_column: str | None = None
    market_map: MappedColumn | None = None
    as_of: dt.date | None = None
    as_of_column: str | None = None
    weight: str | None = None
    leave_out: tuple[str, ...] = ()
    exclude: tuple[ExclusionSpec, ...] = ()
    reject: RejectSpec | None = None

    @field_validator("label", mode="before")
    @classmethod
    def _read_label_column(cls, value: object) -> object:
        """Convert the name of a column to the fields of a LabelSpec."""
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _move_mapped_market(cls, content: object) -> object:
        """Move a table of values from the key `market` or `market_column` to the key `market_map`."""
        if isinstance(content, dict):
            for key in ("market", "market_column"):
                if isinstance(content.get(key), dict):
                    content = {**content, "market_map": content[key]}
                    del content[key]
        return content

    @model_validator(mode="after")
    def _check_source(self) -> "TableSpec":
        """Reject a table with both a path and a query."""
        if self.path is not None and self.source is not None:
            raise ValueError("set only one of path and source")
        return self

    @model_validator(mode="after")
    def _check_market_and_time(self) -> "TableSpec":
        """Require exactly one source of the market, and exactly one source of the time."""
        for constant in ("market", "as_of"):
            column = getattr(self, f"{constant}_column") or (self.market_map if constant == "market" else None)
            if (getattr(self, constant) is None) == (column is None):
                raise ValueError(f"set exactly one of {constant} and {constant}_column")
        return self


class FeatureEntry(SpecPart):
    """One feature of the model; models.bundle_documents.FeatureSpec documents the fields that are not listed here.

    Attributes:
        column: Column of the feature in the data, or an SQL expression over the columns of the same row; None if the
            column has the name of the feature. In a log, the expression uses the features of features.sql.
        missing: Values that stand for a missing value in addition to table.missing, e.g. [96, 98] for special codes of
            a count. The server also treats these values as missing.
        levels: Levels of a category in the order of their codes. If None, `export` uses the levels of the model, and
            `fit` the sorted levels of the fit part.
        description: Description for the report; if empty, the report shows the name of the feature.
        sign: Monotone constraint: 1 if a higher value must not lower the risk, -1 if a higher value must not raise the
            risk, 0 for no constraint.
        group: Code of the feature's reason group; if None, the code is derived from the name of the feature.
        names: Descriptions in languages other than English, by locale, for notices to the person concerned.
    """

    name: FeatureName
    kind: Literal["number", "category"] = "number"
    column: str | None = None
    missing: tuple[Marker, ...] = ()
    levels: tuple[str, ...] | None = Field(default=None, min_length=1)
    description: str = ""
    unit: str = ""
    min: float | None = None
    max: float | None = None
    source: FeatureSource = "STORE"
    mandatory: bool = False
    sign: Literal[-1, 0, 1] = 0
    group: Code | None = None
    texts: dict[LocaleTag, str] = Field(default_factory=dict)
    names: dict[LocaleTag, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_levels(self) -> "FeatureEntry":
        """Reject levels of a number, levels that no data can contain, and duplicate levels."""
        if self.levels is None:
            return self
        if self.kind != "category":
            raise ValueError("levels: only for kind = 'category'; set the kind, or remove the levels")
        if duplicates := sorted({level for level in self.levels if self.levels.count(level) > 1}):
            raise ValueError(f"levels: duplicate levels: {', '.join(duplicates)}; list each level once")
        if problem := level_problem(self.levels):
            raise ValueError(f"levels: {problem}; correct the levels")
        return self


class GroupEntry(SpecPart):
    """A reason group, with a sentence for each locale; see models.bundle_documents.GroupSpec."""

    code: Code
    actionable: bool = False
    texts: dict[LocaleTag, str]


class ScoreSpec(SpecPart):
    """The scale of the score, and the master scale of grades.

    Attributes:
        base_score: Score at the base odds, in points.
        base_odds: Odds of good to bad at the base score.
        pdo: Number of points by which the score rises when the odds of good to bad double.
        master_scale_version: Version of the grades, which every answer states with the grade. Change the version
            whenever the grades change.
        grades: Grades with their upper PD bounds in ascending order. Training does not change the bounds.
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
    """The baseline, which is the population that explanations compare a customer with.

    The baseline is selected from the development rows (fit and calibration parts) whose pd is from min_pd to max_pd.

    Attributes:
        method: "interventional" averages over the rows of the baseline. "path_dependent" does not use the rows: it
            weights the branches of each split by their covers, as LightGBM's pred_contrib does.
        definition: Description of the baseline for readers of an explanation.
        min_pd: Lowest pd of a row in the baseline.
        max_pd: Highest pd of a row in the baseline.
    """

    method: Literal["interventional", "path_dependent"] = "interventional"
    definition: str = "all customers of the development sample"
    min_pd: float = Field(default=0.0, ge=0, le=1)
    max_pd: float = Field(default=1.0, ge=0, le=1)


class Spec(SpecPart):
    """All settings of a model family.

    A spec has either a [table], or a [log] with [snapshots]. Training compares the model with the benchmark models in
    `benchmarks`.

    Attributes:
        base: The small additive model (base) to whose margin the trees are fitted; see training/fitting/base.py. "auto"
            compares the trees alone, each kind of base alone, and the trees on the better kind of base; the folds of
            the search decide. "logistic" and "scorecard" compare this kind of base alone with the trees on this base.
            "none" fits trees only.
        rivals: Benchmark models in addition to the default ones.
        acknowledge: Features that are known not to contain the outcome, although they rank it very well alone.
        accept_behind: Name of the benchmark model that the model may be behind. Without it, a model that is behind the
            best benchmark model by more than chance explains is not released.
    """

    family: Family
    title: str
    purpose: str
    not_for: tuple[str, ...] = ()
    population: str
    table: TableSpec | None = None
    split: HashSplit = HashSplit()
    log: LogSpec | None = None
    status: StatusSpec | None = None
    aliases: AliasSpec | None = None
    snapshots: SnapshotSpec | None = None
    markets: MarketsSpec = MarketsSpec()
    campaign: CampaignSpec = CampaignSpec()
    run: RunSpec = RunSpec()
    cross_validation_folds: int = Field(default=0, ge=0, le=20)
    base: Literal["auto", "none", "logistic", "scorecard"] = "auto"
    search: SearchSpec = SearchSpec()
    score: ScoreSpec = ScoreSpec()
    baseline: BaselineSpec = BaselineSpec()
    rivals: tuple[RivalSpec, ...] = ()
    accept_behind: str | None = None
    out_of_time: OutOfTimeSpec | None = None
    reference_policy: ReferencePolicySpec | None = None
    fairness: FairnessSpec = FairnessSpec()
    acknowledge: tuple[FeatureName, ...] = ()
    leaks_acknowledged: tuple[AcknowledgedLeak, ...] = ()
    gates: tuple[GateSpec, ...] = DEFAULT_GATES
    value: ValueSpec | None = None
    features: tuple[FeatureEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_log_defaults(cls, content: object) -> object:
        """Add the default features, snapshots and texts of a spec with a [log]."""
        return fill_log_defaults(content) if isinstance(content, dict) else content

    @property
    def leak_reasons(self) -> dict[str, str]:
        """Return the features that are known not to contain the outcome, with the reason that the spec states."""
        listed = dict.fromkeys(self.acknowledge, "acknowledged by the spec")
        return listed | {name: leak.reason for leak in self.leaks_acknowledged for name in leak.features}

    @property
    def benchmarks(self) -> tuple[RivalSpec, ...]:
        """Return the benchmark models that the model is compared with: the rivals of the spec, and the default ones.

        A default one is left out if the spec has a rival of its name, or of its kind, features and logarithms.
        """
        defaults: tuple[RivalSpec, ...] = TABLE_RIVALS
        if self.log is not None:
            churn = self.snapshots is None or self.snapshots.outcome == "churn"
            defaults = (*LOG_RIVALS, BG_NBD_RIVAL) if churn else LOG_RIVALS
        names = {rival.name for rival in self.rivals}
        same = [rival.model_copy(update={"name": ""}) for rival in self.rivals]
        return (
            *self.rivals,
            *(one for one in defaults if one.name not in names and one.model_copy(update={"name": ""}) not in same),
        )

    @model_validator(mode="after")
    def _check_accepted_rival(self) -> "Spec":
        """Reject an accepted rival that is not among the benchmark models."""
        names = [rival.name for rival in self.benchmarks]
        if self.accept_behind is not None and self.accept_behind not in names:
            raise ValueError(f"accept_behind: must be the name of a rival, one of {names}, got {self.accept_behind!r}")
        return self

    @model_validator(mode="after")
    def _check_source(self) -> "Spec":
        """Require either a [table] or a [log], and reject fields that require the source that is not set."""
        if (self.table is None) == (self.log is None):
            raise ValueError("set exactly one of [table] and [log]")
        if self.log is not None and (self.snapshots is None or not self.features):
            raise ValueError("a [log] requires [snapshots] and [[features]]")
        if self.table is None and (self.fairness.attributes or self.out_of_time):
            raise ValueError(
                "[fairness] and [out_of_time] are only for a [table]; remove them. A model of a [log] is tested on the later "
                "dates in snapshots.test"
            )
        if self.log is None and (self.status or self.aliases or any(rival.kind == "bg_nbd" for rival in self.rivals)):
            raise ValueError("[status], [aliases] and rivals of kind 'bg_nbd' require a [log]")
        if self.base == "scorecard" and self.table is not None and self.table.weight is not None:
            raise ValueError(
                "base = 'scorecard' does not support table.weight; set base = 'logistic', or remove the weight"
            )
        if self.fairness.attributes and self.reference_policy is None:
            raise ValueError(
                "[fairness] requires a [reference_policy]: it compares the decisions of that policy between groups"
            )
        return self

    @model_validator(mode="after")
    def _check_no_look_ahead(self) -> "Spec":
        """Reject a validation that would use later rows of a log to predict earlier rows."""
        if self.snapshots is not None and len(self.snapshots.fit) > 1 and self.search.validation == "folds":
            raise ValueError(
                "search.validation = 'folds' is not possible with several dates in snapshots.fit: a model would be fitted on "
                "a later date and validated on an earlier one; set search.validation = 'forward'"
            )
        if self.log is not None and self.cross_validation_folds:
            raise ValueError(
                "cross_validation_folds mixes the snapshots of a [log]; remove it, because the model is measured on the test "
                "snapshots"
            )
        return self

    @model_validator(mode="after")
    def _check_features(self) -> "Spec":
        """Reject duplicate features, and acknowledgements of unknown features."""
        names = [feature.name for feature in self.features]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"duplicate features: {', '.join(duplicates)}")
        if names and (unknown := sorted(set(self.acknowledge) - set(names))):
            raise ValueError(f"acknowledge lists unknown features: {', '.join(unknown)}")
        if names and (unknown := sorted(set(self.leak_reasons) - set(names))):
            raise ValueError(f"leaks_acknowledged lists unknown features: {', '.join(unknown)}")
        return self


def check_feature_names(spec: Spec, columns: tuple[str, ...]) -> None:
    """Check that the data provide the features that the rivals and [value] use.

    Args:
        spec: The spec.
        columns: The features that the data provide.

    Raises:
        SpecInvalid: A rival or [value] uses an unknown feature; the message lists all unknown features with their
            fields.
    """
    # A WOE scorecard needs the sign of each of its features, and only features of the spec have a sign.
    wanted = [
        (f"rivals.{rival.name}", name, rival.kind == "scorecard")
        for rival in spec.benchmarks
        for name in rival.features
    ]
    if spec.value is not None:
        wanted.append(("value", spec.value.feature, False))
    own = {feature.name for feature in spec.features}
    unknown = [
        f"  {field}: {name!r}"
        for field, name, needs_sign in wanted
        if name not in columns or (needs_sign and name not in own)
    ]
    if unknown:
        known = f"known features: {', '.join(shorten_list([*columns], _NAMES_SHOWN, ''))}"
        raise SpecInvalid("\n".join(["unknown features:", *unknown, f"{known}; correct the names in the spec"]))
