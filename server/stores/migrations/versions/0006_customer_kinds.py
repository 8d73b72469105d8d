"""A customer's records are found by kind."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index anew, with the kind."""
    op.drop_index("ix_records_customer_tag", "records")
    op.create_index("ix_records_customer_tag", "records", ["customer_tag", "kind"])


def downgrade() -> None:
    """Make the index as it was."""
    op.drop_index("ix_records_customer_tag", "records")
    op.create_index("ix_records_customer_tag", "records", ["customer_tag"])
