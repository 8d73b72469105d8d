"""The spec file of a family: everything that is data and not code, checked field by field."""

from training.spec.family import (
    BaselineSpec,
    Exclusion,
    FeatureEntry,
    GroupEntry,
    ScoreSpec,
    Spec,
    TableSpec,
    refuse_strangers,
)
from training.spec.file import read_spec, spec_digest
from training.spec.learning import HashSplit, RivalSpec, SearchSpec
from training.spec.schema import schema_document
from training.spec.scoring import CampaignSpec, ProfitSpec, RunSpec, ValueSpec
from training.spec.transactions import LogColumns, LogSpec, SnapshotSpec, StatusSpec
from training.spec.validation import (
    DEFAULT_GATES,
    Acknowledged,
    AttributeSpec,
    FairnessSpec,
    Gate,
    OutOfTime,
    ReferencePolicy,
)

__all__ = [
    "DEFAULT_GATES",
    "Acknowledged",
    "AttributeSpec",
    "BaselineSpec",
    "CampaignSpec",
    "Exclusion",
    "FairnessSpec",
    "FeatureEntry",
    "Gate",
    "GroupEntry",
    "HashSplit",
    "LogColumns",
    "LogSpec",
    "OutOfTime",
    "ProfitSpec",
    "ReferencePolicy",
    "RivalSpec",
    "RunSpec",
    "ScoreSpec",
    "SearchSpec",
    "SnapshotSpec",
    "Spec",
    "StatusSpec",
    "TableSpec",
    "ValueSpec",
    "read_spec",
    "refuse_strangers",
    "schema_document",
    "spec_digest",
]
