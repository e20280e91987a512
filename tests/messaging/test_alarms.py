"""Alarms to the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Webhook
from sipsms.core.courier_id import MAIL
from tests.support.messaging.core import ScriptedCourier, core


@pytest.mark.req("W-02", "F-22")
async def test_a_disabled_webhook_is_stored_and_the_operator_is_told_once(tmp_path: Path) -> None:
    mail = ScriptedCourier()
    async with core(tmp_path, {MAIL: mail}) as here:
        here.messaging.router.operator = "noc@example.net"
        await here.store.write(lambda db: _add_did(db))
        await here.messaging.alarms.disable_target("5550009999", "webhook", "410 Gone")
        await mail.wait(1)
        assert mail.seen[0].destination == "noc@example.net"
        assert "5550009999" in mail.seen[0].text
        (did,) = (await here.store.directory(0)).dids
        assert did.webhook == Webhook("http://example.net/h", "b", "", "410 Gone")
        await here.messaging.alarms.disable_target("5550009999", "webhook", "410 Gone")
        assert len(await here.rows("SELECT * FROM deliveries")) == 1, "told once"


def _add_did(db: Any) -> None:
    from sipsms.store import dids
    from sipsms.store.accounts import Hashes, add_account

    add_account(db, "acme", Hashes("", "", ""), 1.0)
    dids.add_did(db, "5550009999", "acme", 1.0, sip_account="", sms=True)
    dids.set_did(db, "5550009999", {"webhook": [("http://example.net/h", {"bearer": "b"})]})
