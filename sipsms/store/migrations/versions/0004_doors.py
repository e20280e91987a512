"""API doors: passwords, limits and tokens of accounts, and what they have sent

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for name, length in (("api_hash", 64), ("api_allow_ip", 1024), ("email", 255), ("reseller", 64)):
        op.add_column("accounts", sa.Column(name, sa.String(length=length), server_default="", nullable=False))
    op.add_column("accounts", sa.Column("app_messages", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("accounts", sa.Column("api_daily_limit", sa.Integer(), nullable=True))
    op.add_column("messages", sa.Column("hidden", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("tokens", sa.Column("expires_at", sa.Double(), nullable=True))
    op.add_column("tokens", sa.Column("version", NUMBER, server_default="0", nullable=False))
    op.create_index("ix_tokens_version", "tokens", ["version"])
    op.create_table(
        "api_usage",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("sends", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("account", "day"),
    )
    op.create_table(
        "push_tokens",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("selector", sa.String(length=255), nullable=False),
        sa.Column("app", sa.String(length=255), nullable=False),
        sa.Column("token", sa.String(length=1024), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account", "selector"),
    )
    where = sa.text("courier = 'app'")
    op.create_index(
        "ix_deliveries_app", "deliveries", ["destination", "id"], sqlite_where=where, postgresql_where=where
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_app", table_name="deliveries")
    op.drop_table("push_tokens")
    op.drop_table("api_usage")
    with op.batch_alter_table("messages") as messages:
        messages.drop_column("hidden")
    op.drop_index("ix_tokens_version", table_name="tokens")
    with op.batch_alter_table("tokens") as tokens:
        tokens.drop_column("version")
        tokens.drop_column("expires_at")
    with op.batch_alter_table("accounts") as accounts:
        for name in ("app_messages", "api_daily_limit", "reseller", "email", "api_allow_ip", "api_hash"):
            accounts.drop_column(name)
