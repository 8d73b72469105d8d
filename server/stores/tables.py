"""The tables. server/stores/migrations makes them; a test proves that the two agree."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

# Customers' features as of a time; append-only. `row` holds doubles, little-endian, in the order of the
# feature set that the digest names, NaN where missing.
FEATURES = Table(
    "features",
    METADATA,
    Column("market", String(2), nullable=False),
    Column("customer_id", String(64), nullable=False),
    Column("feature_set_digest", String(64), nullable=False),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("row", LargeBinary, nullable=False),
    PrimaryKeyConstraint("market", "customer_id", "feature_set_digest", "as_of", name="pk_features"),
)

# Every decision as it was answered.
DECISIONS = Table(
    "decisions",
    METADATA,
    Column("decision_id", String(36), nullable=False),
    Column("caller", String(256), nullable=False),
    Column("request_id", String(36), nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("decide_time", DateTime(timezone=True), nullable=False),
    Column("answer", LargeBinary, nullable=False),
    PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    UniqueConstraint("caller", "request_id", name="uq_decisions_caller_request_id"),
)

# One line per run and market; `header` is the run file's manifest, JSON.
RUNS = Table(
    "runs",
    METADATA,
    Column("run_id", String(32), nullable=False),
    Column("market", String(2), nullable=False),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("load_time", DateTime(timezone=True), nullable=False),
    Column("customer_count", Integer, nullable=False),
    Column("header", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "market", name="pk_runs"),
    Index("ix_runs_newest", "market", "as_of", "load_time"),
)

# The customers of a run. `features` and `contributions` hold doubles as FEATURES.row does.
RISKS = Table(
    "risks",
    METADATA,
    Column("run_id", String(32), nullable=False),
    Column("market", String(2), nullable=False),
    Column("customer_id", String(64), nullable=False),
    Column("log_odds", Double, nullable=False),
    Column("pd", Double, nullable=False),
    Column("band", String(16), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("value_at_risk_minor", BigInteger, nullable=False),
    Column("drivers", Text, nullable=False),
    Column("features", LargeBinary, nullable=False),
    Column("contributions", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "market", "customer_id", name="pk_risks"),
    ForeignKeyConstraint(["run_id", "market"], ["runs.run_id", "runs.market"], name="fk_risks_runs"),
    Index("ix_risks_rank", "run_id", "market", "rank"),
    Index("ix_risks_value", "run_id", "market", "value_at_risk_minor", "customer_id"),
)

# Keys that all processes of one database share.
SERVER_KEYS = Table(
    "server_keys",
    METADATA,
    Column("name", String(64), nullable=False),
    Column("key", LargeBinary, nullable=False),
    PrimaryKeyConstraint("name", name="pk_server_keys"),
)
