"""Messages have an index by the other side's number: a list by contact looks at its messages alone

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    contact = sa.text("(CASE WHEN direction = 'in' THEN source ELSE destination END)")
    op.create_index("ix_messages_contact", "messages", [contact, "id"])


def downgrade() -> None:
    op.drop_index("ix_messages_contact", "messages")
