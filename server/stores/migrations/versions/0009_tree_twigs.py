"""Add leaf tiles: the hashes of the lowest levels of the log's Merkle tree, with 16 records per row."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PLACE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table. Hashes of existing records are still read from their tiles or from the records."""
    op.create_table(
        "tree_twigs",
        sa.Column("first_index", PLACE, nullable=False, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("first_index", name="pk_tree_twigs"),
    )


def downgrade() -> None:
    """Drop the table. No data is lost, because the records contain every hash."""
    op.drop_table("tree_twigs")
