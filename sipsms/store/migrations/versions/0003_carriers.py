"""Carriers and all that a DID delivers to: pieces of texts, media, receipts, blocks, parts, what an account may send

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PARTIAL = {  # index of deliveries -> (column, condition)
    "ix_deliveries_remote_id": ("remote_id", "remote_id <> ''"),
    "ix_deliveries_unknown": ("id", "state = 'unknown'"),
    "ix_deliveries_dead": ("id", "courier IN ('callback', 'webhook', 'mail') AND state IN ('failed', 'expired')"),
}


def upgrade() -> None:
    """Columns with defaults: a table of a million messages is not written anew for them."""
    op.add_column("accounts", sa.Column("bulk", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("accounts", sa.Column("shorteners", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("messages", sa.Column("media", sa.Text(), server_default="", nullable=False))
    op.add_column("deliveries", sa.Column("text_start", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deliveries", sa.Column("text_end", sa.Integer(), server_default="0", nullable=False))
    op.add_column("carriers", sa.Column("polled_at", sa.Double(), server_default="0", nullable=False))
    op.add_column("carriers", sa.Column("status", sa.Text(), server_default="", nullable=False))
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("deliveries", "destination", type_=sa.String(length=255))
        op.alter_column("deliveries", "lane", type_=sa.String(length=255))
        op.alter_column("deliveries", "others", type_=sa.Text())
    for name, (column, condition) in PARTIAL.items():
        where = sa.text(condition)
        op.create_index(name, "deliveries", [column], sqlite_where=where, postgresql_where=where)
    for name in ("media", "blocks", "receipts"):  # never filled before
        op.drop_table(name)
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.LargeBinary(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "blocks",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("reason", sa.String(length=255), server_default="", nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("owner", "number", "direction"),
    )
    op.create_index("ix_blocks_version", "blocks", ["version"])
    op.create_table(
        "parts",
        sa.Column("carrier", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.String(length=128), server_default="", nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("joined", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", "source", "destination", "reference", "number"),
    )
    op.create_index("ix_parts_received_at", "parts", ["received_at"])
    op.create_table(
        "receipts",
        sa.Column("remote_id", sa.String(length=128), nullable=False),
        sa.Column("courier", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("detail", sa.String(length=255), server_default="", nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("opt_out", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("remote_id", "courier", "state"),
    )
    op.create_index("ix_receipts_received_at", "receipts", ["received_at"])


def downgrade() -> None:
    """Texts in pieces, media and receipts of this version are not understood by the one before: its columns go."""
    for name in ("parts", "receipts", "blocks", "secrets"):
        op.drop_table(name)
    for name in PARTIAL:
        op.drop_index(name, "deliveries")
    dropped = {
        "carriers": ("status", "polled_at"), "deliveries": ("text_end", "text_start"), "messages": ("media",),
        "accounts": ("shorteners", "bulk"),
    }  # fmt: skip
    for table, columns in dropped.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("deliveries", "destination", type_=sa.String(length=64))
        op.alter_column("deliveries", "lane", type_=sa.String(length=160))
        op.alter_column("deliveries", "others", type_=sa.String(length=512))
    op.create_table(
        "media",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("message_id", NUMBER, nullable=False, index=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False, unique=True),
        sa.Column("name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("content_type", sa.String(length=80), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("did", sa.String(length=32), primary_key=True),
        sa.Column("number", sa.String(length=64), primary_key=True),
        sa.Column("direction", sa.String(length=3), primary_key=True),
        sa.Column("reason", sa.String(length=255), server_default="", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("courier", sa.String(length=64), nullable=False),
        sa.Column("remote_id", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("detail", sa.String(length=255), server_default="", nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_receipts_remote_id", "receipts", ["remote_id"])
