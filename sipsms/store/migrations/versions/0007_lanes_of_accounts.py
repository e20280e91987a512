"""What waits for the first device of an account has the lane `sip/ACCOUNT`: `sip:7` was also the lane of device 7

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_RENAME = """
    UPDATE deliveries SET lane = :new || substr(lane, 5)
    WHERE courier = 'sip' AND device = 0 AND state IN ('queued', 'sending') AND substr(lane, 1, 4) = :old"""


def upgrade() -> None:
    op.get_bind().execute(sa.text(_RENAME), {"old": "sip:", "new": "sip/"})


def downgrade() -> None:
    op.get_bind().execute(sa.text(_RENAME), {"old": "sip/", "new": "sip:"})
