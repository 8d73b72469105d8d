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
# In SQLite only INTEGER makes the key the row's own number, without a second tree.
PLACE = BigInteger().with_variant(Integer, "sqlite")

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

# The log: one row a record, in the order of the tree. `header`, `ciphertext` and the place are what the tree
# commits to; `nodes` holds the hashes that the record completes, its leaf hash first, 32 bytes each. Every other
# column follows from the header (record/columns.py) and is there to be searched. A row is never changed, but
# that retention takes `ciphertext`.
RECORDS = Table(
    "records",
    METADATA,
    Column("record_index", PLACE, nullable=False, autoincrement=False),
    Column("record_id", String(36), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("caller", String(128), nullable=False),
    Column("request_id", String(36)),
    Column("key_id", String(32), nullable=False),
    Column("customer_tag", String(64)),
    Column("content_tag", String(64)),
    Column("market", String(128)),
    Column("bundle_id", String(128)),
    Column("decision", String(128)),
    Column("grade", String(128)),
    Column("header", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary),
    Column("nodes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("record_index", name="pk_records"),
    UniqueConstraint("record_id", name="uq_records_record_id"),
    UniqueConstraint("caller", "request_id", name="uq_records_caller_request_id"),
    Index("ix_records_customer_tag", "customer_tag"),
    # Holds all that lists and samples ask for, so that they read no record: a row is a hundred times as long.
    Index(
        "ix_records_listed",
        *("kind", "time_us", "record_index", "record_id", "market", "decision", "grade", "bundle_id", "caller"),
    ),
)

# One row: how far the log has grown, and whose it is. Who appends locks it first. `peaks` is the frontier of the
# tree; `checkpoint` the signed note of this very size.
LOG_HEAD = Table(
    "log_head",
    METADATA,
    Column("name", String(16), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("verifier_key", Text, nullable=False),
    Column("tags_key_id", String(32), nullable=False),
    PrimaryKeyConstraint("name", name="pk_log_head"),
)

# The checkpoints that were anchored: signed notes, by the size that they are of.
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("size", PLACE, nullable=False, autoincrement=False),
    Column("note", Text, nullable=False),
    PrimaryKeyConstraint("size", name="pk_checkpoints"),
)

# Every policy file that ever held, by its SHA-256: written before the first decision under it.
POLICIES = Table(
    "policies",
    METADATA,
    Column("sha256", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("sha256", name="pk_policies"),
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
