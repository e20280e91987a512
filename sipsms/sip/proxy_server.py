"""Proxy for MESSAGE to an account's phones, with the phones' own response (RFC 3261 section 16).

The dialplan switches relaying on. Nothing is stored: a phone that is not registered gets nothing. All phones are asked
at once. The first 2xx is the answer, else the best response after the last phone has answered. If no phone answers
there is no answer (RFC 4320 section 4.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sipsms.core.registration import Binding
from sipsms.sip import proxy
from sipsms.sip.courier import request_uri
from sipsms.sip.endpoint import Answer, Endpoint, NoResponse, top_via
from sipsms.sip.flow_token import FlowName
from sipsms.sip.message import Request, Response
from sipsms.sip.transaction import TIMEOUT
from sipsms.sip.transport import Flow

_QUICK = 5.0  # seconds; after a flow that failed later than this no other flow is tried


class ProxyServer:
    def __init__(self, endpoint: Endpoint, realm: str, key: bytes) -> None:
        """`key`: makes the loop marks in our branches unguessable."""
        self._endpoint = endpoint
        self._clock = asyncio.get_running_loop().time
        self._realm = realm
        self._key = key

    def has_looped(self, request: Request) -> bool:
        return proxy.has_looped(request, proxy.loop_mark(request, self._key))

    def flow_of(self, name: FlowName) -> Flow | None:
        return self._endpoint.flow(name.received, name.local, name.number)

    async def pass_on(self, request: Request, source: Flow, bindings: Sequence[Binding]) -> Answer | None:
        """Relay a request and return the phones' answer; None if no phone answered.

        The answer is 430 if every flow is closed (RFC 5626 section 5.3).
        """
        via = top_via(request, source)
        phones: dict[int, list[tuple[Binding, Flow]]] = {}
        for binding in reversed(bindings):  # newest first
            flow = self._endpoint.flow(binding.received, binding.local, binding.flow)
            if flow is not None:
                phones.setdefault(binding.device, []).append((binding, flow))
        if not phones:
            return Answer(430)
        return await self._answer([asyncio.create_task(self._ask(request, via, ways)) for ways in phones.values()])

    async def _ask(self, request: Request, via: str, ways: Sequence[tuple[Binding, Flow]]) -> Response:
        """Ask one phone by its flows, the next flow only if one fails (RFC 5626 section 7).

        Raises NoResponse.
        """
        mark = proxy.loop_mark(request, self._key)
        response, failed, began = None, NoResponse("no flow"), self._clock()
        for binding, flow in ways:
            onward = proxy.forwarded(request, request_uri(binding.contact), binding.path, via, self._realm)
            try:
                response = await self._endpoint.request(onward, flow, mark)
            except NoResponse as error:
                failed = error
                if self._clock() - began > _QUICK:  # the sender has given up or will soon
                    break
                continue
            if response.status != 430:
                return response
        if response is None:
            raise failed
        return response

    async def _answer(self, asked: Sequence[asyncio.Task[Response]]) -> Answer | None:
        got: list[Response] = []
        began = self._clock()
        waiting = set(asked)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    got.append(task.result())
                except NoResponse:
                    continue
            if any(one.status < 300 for one in got):
                break
        for task in waiting:  # their transactions continue, but their responses are not used
            task.add_done_callback(_forget)
        chosen = proxy.best(got)
        if chosen is None:  # failed at once: answer, else the sender's next copy would be relayed again
            return Answer(480) if self._clock() - began < TIMEOUT - 1 else None
        status, reason, headers, tag = proxy.returned(chosen)
        return Answer(status, headers, tag=tag, reason=reason)


def _forget(task: asyncio.Task[Response]) -> None:
    if not task.cancelled():
        task.exception()
