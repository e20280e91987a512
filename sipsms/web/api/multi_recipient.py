"""A request to several receivers, accepted if one is: a client that retried it all would send twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal
from sipsms.messaging.order import Order, Sent
from sipsms.messaging.outbound import Outbound


class Result(NamedTuple):
    sent: list[Sent]
    refused: list[tuple[str, Refusal]]  # (receiver, reason)
    failed: list[str]  # receivers whose message could not be stored

    @property
    def others(self) -> list[str]:
        """Receivers that get no message."""
        return [number for number, _ in self.refused] + self.failed


async def send_all(outbound: Outbound, orders: Iterable[Order]) -> Result:
    """Send the orders in sequence. Raises Unavailable only if no message was accepted."""
    result = Result([], [], [])
    for order in orders:
        if result.failed:
            result.failed.append(order.destination)
            continue
        try:
            sent = await outbound.send(order)
        except Unavailable:
            if not result.sent:
                raise
            result.failed.append(order.destination)
            continue
        if isinstance(sent, Refusal):
            result.refused.append((order.destination, sent))
        else:
            result.sent.append(sent)
    return result
