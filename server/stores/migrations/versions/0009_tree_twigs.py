"""Add leaf tiles: the lowest hashes of the log's Merkle tree, 16 records a page."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PLACE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table. Hashes of older records stay in their tiles, or with the records."""
    op.create_table(
        "tree_twigs",
        sa.Column("first_index", PLACE, nullable=False, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("first_index", name="pk_tree_twigs"),
    )


def downgrade() -> None:
    """Drop the table: the records have every hash."""
    op.drop_table("tree_twigs")
