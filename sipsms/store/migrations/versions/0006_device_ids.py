"""Ids of devices come from a counter of the store: the id of a forgotten device is never given to another one

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_HOLDERS = (("devices", "id"), ("bindings", "device"), ("deliveries", "device"), ("messages", "device"))


def upgrade() -> None:
    connection = op.get_bind()
    last = max(connection.scalar(sa.text(f"SELECT max({column}) FROM {table}")) or 0 for table, column in _HOLDERS)
    connection.execute(sa.text("INSERT INTO counters (name, value) VALUES ('device', :last)"), {"last": last})


def downgrade() -> None:
    op.get_bind().execute(sa.text("DELETE FROM counters WHERE name = 'device'"))
