"""Add what the change feed needs: states, statuses, previous bands, Arrow chunks and tombstones. Runs must be loaded again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CUSTOMER_ID = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    """Drop and create the tables of runs, because runs of format 1 lack data that the feed needs. Scoring again takes minutes."""
    op.drop_table("risks")
    op.drop_table("runs")
    make_runs()
    make_risks()
    op.create_table(
        "risk_chunks",
        sa.Column("run_number", sa.Integer, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_number", "chunk", name="pk_risk_chunks"),
        sa.ForeignKeyConstraint(["run_number"], ["runs.run_number"], name="fk_risk_chunks_runs"),
    )
    op.create_table(
        "risk_tombstones",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("market", sa.String(2), nullable=False),
        sa.Column("customer_id", CUSTOMER_ID, nullable=False),
        sa.Column("erase_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_risk_tombstones"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_risk_tombstones_market", "risk_tombstones", ["market", "number"])


def make_runs() -> None:
    """Create the table of runs."""
    op.create_table(
        "runs",
        sa.Column("run_number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("market", sa.String(2), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("load_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("previous_run_id", sa.String(32), nullable=True),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        sa.Column("customer_count", sa.Integer, nullable=False),
        sa.Column("scored_count", sa.Integer, nullable=False),
        sa.Column("header", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_number", name="pk_runs"),
        sa.UniqueConstraint("run_id", "market", name="uq_runs_run_id_market"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_newest", "runs", ["market", "as_of", "load_time"])


def make_risks() -> None:
    """Create the table of predictions."""
    op.create_table(
        "risks",
        sa.Column("run_number", sa.Integer, nullable=False),
        sa.Column("customer_id", CUSTOMER_ID, nullable=False),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("log_odds", sa.Double, nullable=True),
        sa.Column("pd", sa.Double, nullable=True),
        sa.Column("band", sa.String(16), nullable=True),
        sa.Column("previous_band", sa.String(16), nullable=True),
        sa.Column("band_since", sa.BigInteger, nullable=True),
        sa.Column("rank", sa.Integer, nullable=True),
        sa.Column("value_at_risk_minor", sa.BigInteger, nullable=True),
        sa.Column("expected_spend_minor", sa.BigInteger, nullable=True),
        sa.Column("decline_pd", sa.Double, nullable=True),
        sa.Column("hold_out", sa.Boolean, nullable=False),
        sa.Column("suppressions", sa.Text, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("drivers", sa.Text, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
        sa.Column("contributions", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_number", "customer_id", name="pk_risks"),
        sa.ForeignKeyConstraint(["run_number"], ["runs.run_number"], name="fk_risks_runs"),
    )
    op.create_index("ix_risks_rank", "risks", ["run_number", "rank", "band", "value_at_risk_minor"])
    op.create_index("ix_risks_value", "risks", ["run_number", "value_at_risk_minor", "customer_id", "band"])
    unscored = sa.text("status <> 'SCORED'")
    op.create_index(
        "ix_risks_unscored",
        "risks",
        ["run_number", "status", "customer_id"],
        sqlite_where=unscored,
        postgresql_where=unscored,
    )


def downgrade() -> None:
    """Raise an error, because a CRM may have read the feed already."""
    raise NotImplementedError("the tables of the feed are not dropped; restore a backup instead")
