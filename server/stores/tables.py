"""The tables of the database.

The migrations in server/stores/migrations create the tables. A test checks that this module and the migrations agree.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    text,
)

METADATA = MetaData()
# SQLite uses a primary key as the row id only if its type is INTEGER. A different type would need an additional index.
_PLACE = BigInteger().with_variant(Integer, "sqlite")

# Customers' features as of a time; append-only. `row` contains the values as little-endian doubles in the order of the feature set
# with this digest. NaN represents a missing value.
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

# The record log: one row per record, in the order of the tree. The tree commits to `header`, `ciphertext` and the index. `nodes`
# contains the hashes of the tree nodes that the record completes, 32 bytes each, beginning with its leaf hash. All other columns
# are derived from the header for searching (record/grounds_record/header.py). A row never changes, except that retention
# removes `ciphertext`.
RECORDS = Table(
    "records",
    METADATA,
    Column("record_index", _PLACE, nullable=False, autoincrement=False),
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
    # The index includes the kind, so that a query for the few events about a customer does not read thousands of
    # decisions.
    Index("ix_records_customer_tag", "customer_tag", "kind"),
    # The index contains all columns that lists need. So lists read no rows of the table, which are a hundred times as
    # large.
    Index(
        "ix_records_listed",
        *("kind", "time_us", "record_index", "record_id", "market", "decision", "grade", "bundle_id", "caller"),
    ),
)

# Tiles repeat the hashes of complete subtrees; server/stores/record_log/tiles.py describes both kinds. A row of `tree_twigs` is the
# leaf tile of 16 records, the first of which is `first_index`. A row of `tree_blocks` is a tile with the eight levels below the node
# (`level`, `node_index`).
TREE_TWIGS = Table(
    "tree_twigs",
    METADATA,
    Column("first_index", _PLACE, nullable=False, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("first_index", name="pk_tree_twigs"),
)
TREE_BLOCKS = Table(
    "tree_blocks",
    METADATA,
    Column("level", Integer, nullable=False),
    Column("node_index", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "node_index", name="pk_tree_blocks"),
)

# Chunks of the header index: the headers of `record_count` records, the first of which is `first_index`. The times of the records
# are from `first_us` to `last_us`. `content` is an Arrow IPC stream, which server/stores/record_log/header_chunks.py encodes.
LISTED_CHUNKS = Table(
    "listed_chunks",
    METADATA,
    Column("first_index", _PLACE, nullable=False, autoincrement=False),
    Column("record_count", Integer, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("first_index", name="pk_listed_chunks"),
)

# The head of the log, a single row, which every append locks first. `peaks` contains the hashes of the frontier, `checkpoint` is the
# signed checkpoint of exactly this size, `verifier_key` is the public key of the log, and `tags_key_id` is the id of the key that
# derives customer tags.
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

# The anchored checkpoints, by tree size.
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("size", _PLACE, nullable=False, autoincrement=False),
    Column("note", Text, nullable=False),
    PrimaryKeyConstraint("size", name="pk_checkpoints"),
)

# Every policy file that was ever in force, by its SHA-256. A policy is stored before its first decision.
POLICIES = Table(
    "policies",
    METADATA,
    Column("sha256", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("sha256", name="pk_policies"),
)

# Customer ids are sorted byte by byte in both databases.
_CUSTOMER_ID = String(64).with_variant(String(64, collation="C"), "postgresql")

# Scoring runs: one row per run and market. `header` is the manifest of the run file as JSON. The state is LOADING until the run is
# published, then LOADED, and PRUNING while its rows are deleted. Readers see a run only in the state LOADED. Run numbers are never
# reused. A market may have runs of several families. `family` is null only in a run that release 0.1.0 published after the upgrade,
# until `fill_families` runs. `previous_run_id` is the run whose bands were the previous bands of this run.
RUNS = Table(
    "runs",
    METADATA,
    Column("run_number", Integer, nullable=False, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("market", String(2), nullable=False),
    Column("family", String(32), nullable=True),
    Column("state", String(8), nullable=False),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("valid_until", DateTime(timezone=True), nullable=False),
    Column("load_time", DateTime(timezone=True), nullable=False),
    Column("previous_run_id", String(32), nullable=True),
    Column("file_sha256", String(64), nullable=False),
    Column("customer_count", Integer, nullable=False),
    Column("scored_count", Integer, nullable=False),
    Column("header", Text, nullable=False),
    PrimaryKeyConstraint("run_number", name="pk_runs"),
    UniqueConstraint("run_id", "market", name="uq_runs_run_id_market"),
    Index("ix_runs_newest", "market", "as_of", "load_time"),
    sqlite_autoincrement=True,
)

# The conditions of partial indexes. A query must contain the same text: SQLite does not use a partial index for a condition that
# is written differently or has bound parameters.
IS_UNSCORED = "status <> 'SCORED'"
IS_WITHHELD = "NOT (NOT hold_out AND suppressions = '')"

# The predictions of a run, one row per customer. If a customer has no score (status is not SCORED), most columns are null.
# `band_since` is in microseconds since 1970, UTC. `suppressions` contains codes separated by commas, and `drivers` contains JSON.
# `features` and `contributions` are doubles as in FEATURES.row. `chunk` is the number of the row of RISK_CHUNKS that contains the
# customer. Each index contains the columns by which a list is sorted and filtered.
RISKS = Table(
    "risks",
    METADATA,
    Column("run_number", Integer, nullable=False),
    Column("customer_id", _CUSTOMER_ID, nullable=False),
    Column("status", String(24), nullable=False),
    Column("log_odds", Double, nullable=True),
    Column("pd", Double, nullable=True),
    Column("band", String(16), nullable=True),
    Column("previous_band", String(16), nullable=True),
    Column("band_since", BigInteger, nullable=True),
    Column("rank", Integer, nullable=True),
    Column("value_at_risk_minor", BigInteger, nullable=True),
    Column("expected_spend_minor", BigInteger, nullable=True),
    Column("decline_pd", Double, nullable=True),
    Column("hold_out", Boolean, nullable=False),
    Column("suppressions", Text, nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("drivers", Text, nullable=False),
    Column("features", LargeBinary, nullable=False),
    Column("contributions", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_number", "customer_id", name="pk_risks"),
    ForeignKeyConstraint(["run_number"], ["runs.run_number"], name="fk_risks_runs"),
    Index("ix_risks_rank", "run_number", "rank", "band", "value_at_risk_minor"),
    Index("ix_risks_value", "run_number", "value_at_risk_minor", "customer_id", "band"),
    Index(
        "ix_risks_unscored",
        "run_number",
        "status",
        "customer_id",
        sqlite_where=text(IS_UNSCORED),
        postgresql_where=text(IS_UNSCORED),
    ),
    # Withheld customers.
    Index(
        "ix_risks_withheld",
        "run_number",
        "status",
        sqlite_where=text(IS_WITHHELD),
        postgresql_where=text(IS_WITHHELD),
    ),
)

# The predictions of a run as Arrow IPC streams for the export, which server/stores/runs/export_chunks.py encodes.
RISK_CHUNKS = Table(
    "risk_chunks",
    METADATA,
    Column("run_number", Integer, nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_number", "chunk", name="pk_risk_chunks"),
    ForeignKeyConstraint(["run_number"], ["runs.run_number"], name="fk_risk_chunks_runs"),
)

# Leaf tiles (grounds_record.leaf_tiles) with the sorted leaf hashes of a run's rows in a market. `block` is the number of the tile,
# `first` its smallest leaf hash, and `root` the root over its `hashes`. An erasure does not delete leaf hashes, because they are
# needed to prove other rows. They reveal nothing, because rows are salted (grounds_record.customer_keys.row_salt). A run that was
# loaded before revision 0005 has no leaf tiles.
RISK_LEAVES = Table(
    "risk_leaves",
    METADATA,
    Column("run_number", Integer, nullable=False),
    Column("block", Integer, nullable=False),
    Column("first", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_number", "block", name="pk_risk_leaves"),
    ForeignKeyConstraint(["run_number"], ["runs.run_number"], name="fk_risk_leaves_runs"),
)

# Tombstones: customers who were erased, so that copies of the predictions delete them too. A tombstone is deleted when no valid
# token can request it.
RISK_TOMBSTONES = Table(
    "risk_tombstones",
    METADATA,
    Column("number", Integer, nullable=False, autoincrement=True),
    Column("market", String(2), nullable=False),
    Column("customer_id", _CUSTOMER_ID, nullable=False),
    Column("erase_time", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("number", name="pk_risk_tombstones"),
    Index("ix_risk_tombstones_market", "market", "number"),
    sqlite_autoincrement=True,
)

# Keys that all processes of the server share.
SERVER_KEYS = Table(
    "server_keys",
    METADATA,
    Column("name", String(64), nullable=False),
    Column("key", LargeBinary, nullable=False),
    PrimaryKeyConstraint("name", name="pk_server_keys"),
)
