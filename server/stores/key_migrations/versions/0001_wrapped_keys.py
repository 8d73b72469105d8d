"""Create the table of the key database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "wrapped_keys",
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_wrapped_keys"),
        sa.UniqueConstraint("owner", name="uq_wrapped_keys_owner"),
    )


def downgrade() -> None:
    """Raise an error, because records whose key is lost can never be read again."""
    raise NotImplementedError("keys are not dropped; restore a backup instead")
