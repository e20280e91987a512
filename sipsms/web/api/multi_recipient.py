"""One request to several receivers: taken, as soon as one of them is.

A client that is told to come again after some were taken would send those a second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sipsms.core.errors import Unavailable
from sipsms.messaging.outbound import Order, Sender, SendRefused, Sent


class Result(NamedTuple):
    sent: list[Sent]
    refused: list[tuple[str, SendRefused]]  # by receiver
    failed: list[str]  # receivers that the store could not take

    @property
    def others(self) -> list[str]:
        """Receivers that get nothing."""
        return [number for number, _ in self.refused] + self.failed


async def send_all(sender: Sender, orders: Iterable[Order]) -> Result:
    """One after the other. Raises Unavailable only if none was taken."""
    result = Result([], [], [])
    for order in orders:
        if result.failed:
            result.failed.append(order.destination)
            continue
        try:
            result.sent.append(await sender.send(order))
        except SendRefused as error:
            result.refused.append((order.destination, error))
        except Unavailable:
            if not result.sent:
                raise
            result.failed.append(order.destination)
    return result
