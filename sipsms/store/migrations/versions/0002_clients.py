"""What clients want: presence and copies by account, typed messages and delivery notices, provisioning

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Columns with defaults: a table of a million messages is not written anew for them."""
    op.add_column("accounts", sa.Column("presence", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("accounts", sa.Column("copies", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("messages", sa.Column("content_type", sa.String(length=127), server_default="", nullable=False))
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("messages", sa.Column("device", number, server_default="0", nullable=False))
    op.add_column("messages", sa.Column("notify", sa.String(length=255), server_default="", nullable=False))
    asked = sa.text("notify <> ''")
    op.create_index("ix_messages_notify", "messages", ["id"], sqlite_where=asked, postgresql_where=asked)
    op.create_table(
        "provisions",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("fetches_left", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_provisions_account", "provisions", ["account"])
    _key_of_bindings("aor", "contact", "instance", "reg_id")


def _key_of_bindings(*key: str) -> None:
    """The table anew with another primary key, with what is registered (of doubles under a smaller key: any)."""
    op.rename_table("bindings", "bindings_before")
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "bindings",
        sa.Column("aor", sa.String(length=64), nullable=False),
        sa.Column("contact", sa.String(length=1024), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("call_id", sa.String(length=512), nullable=False),
        sa.Column("cseq", number, nullable=False),
        sa.Column("received", sa.String(length=128), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("q", sa.Double(), nullable=False),
        sa.Column("instance", sa.String(length=255), server_default="", nullable=False),
        sa.Column("reg_id", sa.Integer(), server_default="0", nullable=False, autoincrement=False),
        sa.Column("user_agent", sa.String(length=255), server_default="", nullable=False),
        sa.Column("accept", sa.String(length=1024), server_default="", nullable=False),
        sa.Column("flow", number, server_default="0", nullable=False),
        sa.Column("node", sa.String(length=64), server_default="", nullable=False),
        sa.Column("local", sa.String(length=128), server_default="", nullable=False),
        sa.Column("to_uri", sa.String(length=1024), server_default="", nullable=False),
        sa.Column("device", number, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint(*key),
        sqlite_with_rowid=False,
    )
    once = ", ".join(key)
    op.execute(
        "INSERT INTO bindings SELECT aor, contact, expires_at, call_id, cseq, received, path, params, q, instance, reg_id, "
        "user_agent, accept, flow, node, local, to_uri, device FROM bindings_before AS one WHERE NOT EXISTS (SELECT 1 "
        f"FROM bindings_before AS other WHERE ({once}) = ({', '.join('one.' + name for name in key)}) "
        "AND other.device > one.device)"
    )
    op.drop_table("bindings_before")


def downgrade() -> None:
    _key_of_bindings("aor", "contact")
    op.drop_table("provisions")
    op.drop_index("ix_messages_notify", "messages")
    with op.batch_alter_table("messages") as batch:
        batch.drop_column("notify")
        batch.drop_column("device")
        batch.drop_column("content_type")
    with op.batch_alter_table("accounts") as batch:
        batch.drop_column("copies")
        batch.drop_column("presence")
