"""Add an index of withheld customers, so that lists can count all others quickly."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    withheld = sa.text("NOT (NOT hold_out AND suppressions = '')")
    op.create_index(
        "ix_risks_withheld", "risks", ["run_number", "status"], sqlite_where=withheld, postgresql_where=withheld
    )


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_risks_withheld", "risks")
