"""People who sign in to the message centre: users, their DIDs, sessions, audit log

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def _text(name: str, length: int = 255) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), server_default="", nullable=False)


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "users",
        sa.Column("id", number, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        _text("customer", 64),
        sa.Column("role", sa.String(length=16), nullable=False),
        _text("email"),
        _text("hash"),
        _text("totp", 64),
        sa.Column("totp_step", number, server_default="0", nullable=False),
        _text("totp_new", 64),
        _text("recovery", 1024),
        _text("tz", 64),
        _text("lang", 8),
        _text("theme", 8),
        _text("link", 64),
        sa.Column("link_ends", sa.Double(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", number, server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_index("ix_users_customer", "users", ["customer"])
    has_email, has_link = sa.text("email <> ''"), sa.text("link <> ''")
    op.create_index(
        "ix_users_email", "users", ["email"], unique=True, sqlite_where=has_email, postgresql_where=has_email
    )
    op.create_index("ix_users_link", "users", ["link"], sqlite_where=has_link, postgresql_where=has_link)
    op.create_table(
        "user_dids",
        sa.Column("user_id", number, autoincrement=False, nullable=False),
        sa.Column("did", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "did"),
    )
    op.create_index("ix_user_dids_did", "user_dids", ["did"])
    op.create_table(
        "sessions",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", number, nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("stay", sa.Boolean(), server_default=sa.false(), nullable=False),
        _text("stage", 8),
        _text("agent"),
        _text("address", 64),
        _text("viewed", 64),
        sa.Column("view_ends", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_ends_at", "sessions", ["ends_at"])
    op.create_table(
        "audit",
        sa.Column("id", number, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        _text("subject"),
        _text("detail", 1024),
        _text("address", 64),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    for table in ("audit", "sessions", "user_dids", "users"):
        op.drop_table(table)
