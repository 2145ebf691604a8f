"""What several gateways of one project share: budgets, the trial, and what was seen of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budget_leases",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("used", sa.Float(53), nullable=False),
        sa.Column("held", sa.Float(53), nullable=False),
        sa.Column("until", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("project", "day", "account", "gateway"),
    )
    op.create_table(
        "trials",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project"),
    )
    op.create_table(
        "trial_outcomes",
        sa.Column("trial", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("batch", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trial", "place"),
    )


def downgrade() -> None:
    op.drop_table("trial_outcomes")
    op.drop_table("trials")
    op.drop_table("budget_leases")
