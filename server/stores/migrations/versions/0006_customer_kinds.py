"""Index the records of a customer by kind."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index again, with the kind."""
    op.drop_index("ix_records_customer_tag", "records")
    op.create_index("ix_records_customer_tag", "records", ["customer_tag", "kind"])


def downgrade() -> None:
    """Restore the index without the kind."""
    op.drop_index("ix_records_customer_tag", "records")
    op.create_index("ix_records_customer_tag", "records", ["customer_tag"])
