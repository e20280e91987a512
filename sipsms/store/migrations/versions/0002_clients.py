"""What clients want: presence and copies by account, typed messages and delivery notices, provisioning

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


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


def downgrade() -> None:
    op.drop_table("provisions")
    op.drop_index("ix_messages_notify", "messages")
    with op.batch_alter_table("messages") as batch:
        batch.drop_column("notify")
        batch.drop_column("device")
        batch.drop_column("content_type")
    with op.batch_alter_table("accounts") as batch:
        batch.drop_column("copies")
        batch.drop_column("presence")
