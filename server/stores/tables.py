"""The tables of the database. server/stores/migrations creates them; a test checks that the two agree."""

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
# SQLite uses only an INTEGER primary key as the row id; any other type would need an index of its own.
_PLACE = BigInteger().with_variant(Integer, "sqlite")

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

# The record log: one row a record, in the order of the tree. The tree commits to `header`, `ciphertext` and the
# index; `nodes` has the hashes that the record completes, its leaf hash first, 32 bytes each. Every other
# column follows from the header (record/grounds_record/header_columns.py) and is there for searching. A row never changes, except that
# retention removes `ciphertext`.
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
    # With the kind: events about a decision are a record or two among thousands of a customer's decisions.
    Index("ix_records_customer_tag", "customer_tag", "kind"),
    # Covers lists, so that they read no row of the table, which is a hundred times as long.
    Index(
        "ix_records_listed",
        *("kind", "time_us", "record_index", "record_id", "market", "decision", "grade", "bundle_id", "caller"),
    ),
)

# Tiles repeat hashes of complete subtrees; server/stores/record_log/tiles.py describes both kinds. `tree_twigs` has leaf tiles
# of 16 records from `first_index` on, `tree_blocks` tiles of the eight levels below the node that they are named after.
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

# Chunks of the header index: the headers of records from `first_index` on, with times in [first_us, last_us]. `content` is an
# Arrow IPC stream; server/stores/record_log/header_chunks.py encodes it.
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

# One row: the size of the log, and its keys. Every append locks it first. `peaks` is the frontier of the tree,
# `checkpoint` the signed checkpoint of exactly this size.
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

# The checkpoints that were anchored, by the size of their trees.
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("size", _PLACE, nullable=False, autoincrement=False),
    Column("note", Text, nullable=False),
    PrimaryKeyConstraint("size", name="pk_checkpoints"),
)

# Every policy file that was ever in force, by its SHA-256: stored before the first decision under it.
POLICIES = Table(
    "policies",
    METADATA,
    Column("sha256", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("sha256", name="pk_policies"),
)

# Customer ids sort byte by byte in every database.
_CUSTOMER_ID = String(64).with_variant(String(64, collation="C"), "postgresql")

# One row a scoring run and market; `header` is the run file's manifest, JSON. Readers see a run while its state is
# LOADED; before, it is LOADING; when it is no longer kept, PRUNING until its rows are deleted. Numbers are never
# reused. previous_run_id: the run whose bands were compared.
RUNS = Table(
    "runs",
    METADATA,
    Column("run_number", Integer, nullable=False, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("market", String(2), nullable=False),
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

# The predictions of a run, one row a customer. Lists do not read the columns after hold_out. Without a score (status is not
# SCORED) most columns are null. band_since: microseconds since 1970, UTC; suppressions: codes separated by commas; drivers:
# JSON; `features` and `contributions`: doubles as in FEATURES.row; chunk: the row of RISK_CHUNKS that has the customer. Each
# index covers its order and the filters of a list.
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
        sqlite_where=text("status <> 'SCORED'"),
        postgresql_where=text("status <> 'SCORED'"),
    ),
)

# The same customers as Arrow IPC streams, for the export; server/stores/runs/export_chunks.py encodes them.
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

# The sorted leaves of the Merkle tree over a run's rows in a market, in tiles (grounds_record.leaf_tiles): `first` is the
# smallest leaf hash of a tile, `root` the root over its `hashes`. An erasure keeps them: they reveal nothing (see
# grounds_record.customer_keys.row_salt), and the run's record is proved by them. A run from before revision 0005 has none.
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

# Tombstones: customers who were erased from a run, so that a copy of it deletes them. Deleted when no token can ask for them.
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

# Keys that all processes of this database share.
SERVER_KEYS = Table(
    "server_keys",
    METADATA,
    Column("name", String(64), nullable=False),
    Column("key", LargeBinary, nullable=False),
    PrimaryKeyConstraint("name", name="pk_server_keys"),
)
