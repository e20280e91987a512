"""SMPP: rates of accounts, long texts that go out in parts, receipts with their recipient, the sessions there are

Revision: 0005, after 0004
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("smpp_rate", sa.Integer(), nullable=True))
    op.add_column("accounts", sa.Column("api_fields", sa.Text(), server_default="{}", nullable=False))
    op.add_column("dids", sa.Column("sms_paused", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("parts", sa.Column("account", sa.String(length=64), server_default="", nullable=False))
    op.add_column("parts", sa.Column("expires_at", sa.Double(), nullable=True))
    op.create_index(
        "ix_parts_open", "parts", ["carrier", "source", "destination", "reference", "received_at"],
        sqlite_where=sa.text("joined = 0"), postgresql_where=sa.text("NOT joined"),
    )  # fmt: skip
    _anew(
        "remote_id", "courier", "state", "recipient", "sender",
        more=[sa.Column("other", sa.Boolean(), server_default=sa.false(), nullable=False)],
    )  # fmt: skip
    where = sa.text("recipient <> ''")
    op.create_index(
        "ix_receipts_recipient", "receipts", ["recipient", "courier"], sqlite_where=where, postgresql_where=where
    )
    where = sa.text("kind = 'smpp'")
    op.create_index("ix_did_targets_smpp", "did_targets", ["did"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "smpp_binds",
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("number", NUMBER, nullable=False, autoincrement=False),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("name", sa.String(length=64), server_default="", nullable=False),
        sa.Column("account", sa.String(length=64), server_default="", nullable=False),
        sa.Column("peer", sa.String(length=255), server_default="", nullable=False),
        sa.Column("mode", sa.String(length=16), server_default="", nullable=False),
        sa.Column("tls", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="", nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("sent", NUMBER, server_default="0", nullable=False),
        sa.Column("received", NUMBER, server_default="0", nullable=False),
        sa.Column("why", sa.String(length=255), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("node", "number"),
    )
    op.create_table(
        "smpp_heard",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _anew(*key: str, more: list[sa.Column[Any]]) -> None:
    """The table of receipts with another primary key; the columns that both have are copied."""
    old = ["remote_id", "courier", "state", "detail", "received_at", "opt_out"]
    op.drop_index("ix_receipts_received_at", table_name="receipts")
    op.rename_table("receipts", "receipts_before")
    if op.get_bind().dialect.name == "postgresql":  # its name stays behind
        op.execute("ALTER TABLE receipts_before DROP CONSTRAINT receipts_pkey")
    numbers = [sa.Column(name, sa.String(64), server_default="", nullable=False) for name in key[3:]]
    op.create_table(
        "receipts", sa.Column("remote_id", sa.String(128), nullable=False),
        sa.Column("courier", sa.String(64), nullable=False), sa.Column("state", sa.String(10), nullable=False),
        sa.Column("detail", sa.String(255), server_default="", nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("opt_out", sa.Boolean(), server_default=sa.false(), nullable=False),
        *numbers, *more, sa.PrimaryKeyConstraint(*key),
    )  # fmt: skip
    op.execute(f"INSERT INTO receipts ({', '.join(old)}) SELECT {', '.join(old)} FROM receipts_before")
    op.drop_table("receipts_before")
    op.create_index("ix_receipts_received_at", "receipts", ["received_at"])


def downgrade() -> None:
    """Turned away while parts of long texts wait that customers send: they were answered as accepted, and the older
    program would take them for texts that came in. Once the server has run for five minutes without SMPP, none is left.
    """
    bind = op.get_bind()
    waiting = bind.execute(sa.text("SELECT count(*) FROM parts WHERE account <> '' AND NOT joined")).scalar()
    if waiting:
        raise RuntimeError(f"{waiting} parts of long texts that customers send wait for others: let them go out first")
    bind.execute(sa.text("DELETE FROM parts WHERE account <> ''"))
    op.drop_table("smpp_heard")
    op.drop_table("smpp_binds")
    op.drop_index("ix_did_targets_smpp", table_name="did_targets")
    op.drop_index("ix_receipts_recipient", table_name="receipts")
    op.execute(
        "DELETE FROM receipts WHERE EXISTS (SELECT 1 FROM receipts AS o WHERE o.remote_id = receipts.remote_id"
        " AND o.courier = receipts.courier AND o.state = receipts.state AND (o.received_at < receipts.received_at"
        " OR (o.received_at = receipts.received_at AND o.recipient || ' ' || o.sender"
        " < receipts.recipient || ' ' || receipts.sender)))"
    )  # one a name and state was all that fitted
    _anew("remote_id", "courier", "state", more=[])
    op.drop_index("ix_parts_open", table_name="parts")
    with op.batch_alter_table("parts") as parts:
        parts.drop_column("expires_at")
        parts.drop_column("account")
    with op.batch_alter_table("accounts") as accounts:
        accounts.drop_column("api_fields")
        accounts.drop_column("smpp_rate")
    with op.batch_alter_table("dids") as dids:
        dids.drop_column("sms_paused")
