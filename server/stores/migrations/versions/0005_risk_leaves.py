"""Add the leaves of runs, so that one row can be proved."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. Runs that are loaded stay as they are, without leaves."""
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
    """Refuse: without its leaves no row of a run can be proved."""
    raise NotImplementedError("leaves are not dropped; restore a backup instead")
