"""Create the record log, and drop the table of decisions, which was not part of any release."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PLACE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.drop_table("decisions")
    op.create_table(
        "records",
        sa.Column("record_index", PLACE, nullable=False, autoincrement=False),
        sa.Column("record_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("customer_tag", sa.String(64)),
        sa.Column("content_tag", sa.String(64)),
        sa.Column("market", sa.String(128)),
        sa.Column("bundle_id", sa.String(128)),
        sa.Column("decision", sa.String(128)),
        sa.Column("grade", sa.String(128)),
        sa.Column("header", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary),
        sa.Column("nodes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("record_index", name="pk_records"),
        sa.UniqueConstraint("record_id", name="uq_records_record_id"),
        sa.UniqueConstraint("caller", "request_id", name="uq_records_caller_request_id"),
    )
    op.create_index("ix_records_customer_tag", "records", ["customer_tag"])
    op.create_index("ix_records_kind_time_us", "records", ["kind", "time_us"])
    op.create_table(
        "log_head",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
        sa.Column("verifier_key", sa.Text, nullable=False),
        sa.Column("tags_key_id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_log_head"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", PLACE, nullable=False, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_checkpoints"),
    )


def downgrade() -> None:
    """Raise an error, because records are evidence and must not be dropped."""
    raise NotImplementedError("records are not dropped; restore a backup instead")
