"""Add the header index, a columnar copy of record headers for samples."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PLACE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table. A low-priority process of the server fills it, including chunks of existing records."""
    op.create_table(
        "listed_chunks",
        sa.Column("first_index", PLACE, nullable=False, autoincrement=False),
        sa.Column("record_count", sa.Integer, nullable=False),
        sa.Column("first_us", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("first_index", name="pk_listed_chunks"),
    )


def downgrade() -> None:
    """Drop the table. No data is lost, because the records contain all headers."""
    op.drop_table("listed_chunks")
