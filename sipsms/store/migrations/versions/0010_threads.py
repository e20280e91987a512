"""An account may answer from the DID that its peer last wrote to

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("reply_from_thread", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "threads",
        sa.Column("account", sa.String(length=64), primary_key=True),
        sa.Column("peer", sa.String(length=64), primary_key=True),
        sa.Column("did", sa.String(length=32), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("threads")
    with op.batch_alter_table("accounts") as batch:
        batch.drop_column("reply_from_thread")
