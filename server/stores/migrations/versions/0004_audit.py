"""Store policy files by digest, and add an index for lists and samples of decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LISTED = ["kind", "time_us", "record_index", "record_id", "market", "decision", "grade", "bundle_id", "caller"]


def upgrade() -> None:
    """Create the table, and replace an index by a longer one that begins with the same columns."""
    op.create_table(
        "policies",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_policies"),
    )
    op.create_index("ix_records_listed", "records", LISTED)
    op.drop_index("ix_records_kind_time_us", "records")


def downgrade() -> None:
    """Raise an error, because a decision cannot be replayed without its policy."""
    raise NotImplementedError("policies are not dropped; restore a backup instead")
