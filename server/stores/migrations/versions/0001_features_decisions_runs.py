"""Create the first tables: features, decisions, scoring runs, predictions, and shared keys of the server."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "features",
        sa.Column("market", sa.String(2), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("feature_set_digest", sa.String(64), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("row", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("market", "customer_id", "feature_set_digest", "as_of", name="pk_features"),
    )
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String(36), nullable=False),
        sa.Column("caller", sa.String(256), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("decide_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
        sa.UniqueConstraint("caller", "request_id", name="uq_decisions_caller_request_id"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("market", sa.String(2), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("load_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("customer_count", sa.Integer, nullable=False),
        sa.Column("header", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "market", name="pk_runs"),
    )
    op.create_index("ix_runs_newest", "runs", ["market", "as_of", "load_time"])
    op.create_table(
        "risks",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("market", sa.String(2), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("log_odds", sa.Double, nullable=False),
        sa.Column("pd", sa.Double, nullable=False),
        sa.Column("band", sa.String(16), nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("value_at_risk_minor", sa.BigInteger, nullable=False),
        sa.Column("drivers", sa.Text, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
        sa.Column("contributions", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "market", "customer_id", name="pk_risks"),
        sa.ForeignKeyConstraint(["run_id", "market"], ["runs.run_id", "runs.market"], name="fk_risks_runs"),
    )
    op.create_index("ix_risks_rank", "risks", ["run_id", "market", "rank"])
    op.create_index("ix_risks_value", "risks", ["run_id", "market", "value_at_risk_minor", "customer_id"])
    op.create_table(
        "server_keys",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_keys"),
    )


def downgrade() -> None:
    """Raise an error, because decisions are evidence and must not be dropped."""
    raise NotImplementedError("decisions are not dropped; restore a backup instead")
