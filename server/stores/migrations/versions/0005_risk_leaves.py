"""Add leaf tiles of scoring runs, so that a single row can be proved."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. Runs that are already loaded get no leaf tiles."""
    op.create_table(
        "risk_leaves",
        sa.Column("run_number", sa.Integer, nullable=False),
        sa.Column("block", sa.Integer, nullable=False),
        sa.Column("first", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_number", "block", name="pk_risk_leaves"),
        sa.ForeignKeyConstraint(["run_number"], ["runs.run_number"], name="fk_risk_leaves_runs"),
    )


def downgrade() -> None:
    """Raise an error, because rows of a run cannot be proved without its leaf tiles."""
    raise NotImplementedError("leaves are not dropped; restore a backup instead")
