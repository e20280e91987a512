"""Files of orders: fetched, checked, saved, and removed again if the order is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipsms.core.errors import Unavailable
from sipsms.core.refusal import RefusalCode
from sipsms.messaging.order import File
from tests.support.messaging.media import PNG
from tests.support.messaging.program import broken, program


async def test_files_are_checked_for_count_type_and_size(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        await client.send("", files=[File(PNG, name="cat.png"), File(url="https://example.net/a.png")])
        assert client.fetched == ["https://example.net/a.png"]
        assert await client.refused(files=[File(PNG)] * 4) is RefusalCode.MEDIA_COUNT
        assert await client.refused(files=[File(url="https://example.net/gone")]) is RefusalCode.MEDIA
        assert await client.refused(files=[File(b"MZ no picture")]) is RefusalCode.MEDIA
        assert await client.refused(files=[File(url="https://example.net/big")]) is RefusalCode.MEDIA_SIZE
        assert await client.refused("x" * 2049, files=[File(PNG)]) is RefusalCode.TOO_LONG
        assert await client.count() == 1


async def test_a_refused_order_leaves_no_file_and_does_not_count(tmp_path: Path) -> None:
    async with program(tmp_path, daily=5) as client:
        for _ in range(3):
            assert await client.refused("see bit.ly/x", files=[File(PNG), File(PNG)]) is RefusalCode.POLICY
            assert await client.refused(files=[File(PNG), File(url="https://example.net/gone")]) is RefusalCode.MEDIA
        gateway: Any = client.core.messaging.gateway
        real, gateway.submit = gateway.submit, broken
        with pytest.raises(Unavailable):
            await client.send(files=[File(PNG)])
        gateway.submit = real
        assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []
        assert await client.usage.sent("demo") == 0
