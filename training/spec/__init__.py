"""The spec file of a model family: the classes of its fields, and the functions that read and check it."""

from training.spec.family import (
    BaselineSpec,
    ExclusionSpec,
    FeatureEntry,
    GroupEntry,
    RejectSpec,
    ScoreSpec,
    Spec,
    TableSpec,
    check_feature_names,
)
from training.spec.file import read_spec, spec_digest
from training.spec.learning import HashSplit, RivalSpec, SearchSpec
from training.spec.levels import level_problem
from training.spec.mapping import MappedColumn
from training.spec.markets import MarketsSpec
from training.spec.reading import LabelSpec, ReadingSpec
from training.spec.schema import schema_document
from training.spec.scoring import CampaignSpec, ProfitSpec, RunSpec, ValueSpec
from training.spec.sources import QuerySpec
from training.spec.toml_text import toml_text
from training.spec.transactions import AliasSpec, LogColumns, LogSpec, SnapshotSpec, StatusSpec
from training.spec.validation import (
    DEFAULT_GATES,
    AcknowledgedLeak,
    AttributeSpec,
    FairnessSpec,
    GateSpec,
    OutOfTimeSpec,
    ReferencePolicySpec,
)

__all__ = [
    "DEFAULT_GATES",
    "AcknowledgedLeak",
    "AliasSpec",
    "AttributeSpec",
    "BaselineSpec",
    "CampaignSpec",
    "ExclusionSpec",
    "FairnessSpec",
    "FeatureEntry",
    "GateSpec",
    "GroupEntry",
    "HashSplit",
    "LabelSpec",
    "LogColumns",
    "LogSpec",
    "MappedColumn",
    "MarketsSpec",
    "OutOfTimeSpec",
    "ProfitSpec",
    "QuerySpec",
    "ReadingSpec",
    "ReferencePolicySpec",
    "RejectSpec",
    "RivalSpec",
    "RunSpec",
    "ScoreSpec",
    "SearchSpec",
    "SnapshotSpec",
    "Spec",
    "StatusSpec",
    "TableSpec",
    "ValueSpec",
    "check_feature_names",
    "level_problem",
    "read_spec",
    "schema_document",
    "spec_digest",
    "toml_text",
]
