"""Carriers' message ids with capitals or leading zeros have an index without these, because receipts have them otherwise

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_FOLDED = "ltrim(lower(remote_id), '0')"
_UNFOLDED = sa.text(f"remote_id <> {_FOLDED}")


def upgrade() -> None:
    op.create_index(
        "ix_deliveries_folded_id", "deliveries", [sa.text(_FOLDED)],
        sqlite_where=_UNFOLDED, postgresql_where=_UNFOLDED,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_deliveries_folded_id", "deliveries")
