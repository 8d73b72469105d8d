"""Add tiles of the log's Merkle tree."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. Existing records get no tiles, so their hashes are read from the records."""
    op.create_table(
        "tree_blocks",
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("node_index", sa.BigInteger, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("level", "node_index", name="pk_tree_blocks"),
    )


def downgrade() -> None:
    """Drop the table. No data is lost, because the records contain every hash."""
    op.drop_table("tree_blocks")
