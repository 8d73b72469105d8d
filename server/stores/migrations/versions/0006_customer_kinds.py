"""Add the kind to the index of a customer's records."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index by one with the kind."""
    op.drop_index("ix_records_customer_tag", "records")
    op.create_index("ix_records_customer_tag", "records", ["customer_tag", "kind"])


def downgrade() -> None:
    """Restore the index without the kind."""
    op.drop_index("ix_records_customer_tag", "records")
    op.create_index("ix_records_customer_tag", "records", ["customer_tag"])
