"""History by number is a table that the writer fills behind, instead of two indexes that each message pays for

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CONTACT = "(CASE WHEN direction = 'in' THEN source ELSE destination END)"


def upgrade() -> None:
    op.drop_index("ix_messages_did_id", "messages")
    op.drop_index("ix_messages_contact", "messages", if_exists=True)
    op.create_table(
        "history",
        sa.Column("kind", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.String(length=64), primary_key=True),
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    for kind, number in ((0, "did"), (1, _CONTACT)):
        op.execute(
            f"INSERT INTO history (kind, number, id) SELECT {kind}, {number}, id FROM messages "
            f"WHERE {number} <> '' ORDER BY {number}, id"
        )
    op.execute("INSERT INTO counters (name, value) SELECT 'history', max(id) FROM messages HAVING max(id) > 0")


def downgrade() -> None:
    op.drop_table("history")
    op.execute("DELETE FROM counters WHERE name = 'history'")
    op.create_index("ix_messages_did_id", "messages", ["did", "id"])
    op.create_index("ix_messages_contact", "messages", [sa.text(_CONTACT), "id"])
