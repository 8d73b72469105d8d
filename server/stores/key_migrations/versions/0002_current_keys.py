"""Add the table that states which master key encrypts new keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "current_keys",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_current_keys"),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("current_keys")
