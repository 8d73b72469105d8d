"""Add the family to runs, so that a market can have runs of several families."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_RUNS = sa.table("runs", sa.column("run_number"), sa.column("family"), sa.column("header"))


def upgrade() -> None:
    """Add the column, with the family that the manifest of each run states. No run is without one."""
    op.add_column("runs", sa.Column("family", sa.String(32), nullable=True))
    connection = op.get_bind()
    for number, header in connection.execute(sa.select(_RUNS.c.run_number, _RUNS.c.header)).all():
        family = json.loads(header)["family"]
        connection.execute(sa.update(_RUNS).where(_RUNS.c.run_number == number).values(family=family))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("runs", "family")
