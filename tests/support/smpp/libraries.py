"""Three Python libraries as ESMEs, all used alike: smpplib, aiosmpplib, smpp34.

`with SmpplibEsme(port, user, password) as esme:` binds (raises Refused), `esme.send(source, destination, text)` waits
for the answer, `esme.messages` and `esme.receipts` can be awaited. A long text goes as the library itself splits it.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.smpp import records as words
from tests.support.smpp.records import Came, Joiner, LoopThread, Missing, Refused, Reply, Seen, Told

try:
    import aiosmpplib
    import smpp34
    import smpplib.client
    import smpplib.consts
    import smpplib.exceptions
    import smpplib.gsm
    from aiosmpplib.retrytimer import SimpleExponentialBackoff
except ImportError as why:
    raise Missing(f"{why.name} is not installed: pip install -e '.[dev]'") from why

HOST = "127.0.0.1"


class Esme:
    """What the three share."""

    def __init__(self, port: int, user: str, password: str, mode: str = "trx") -> None:
        self.port, self.user, self.password, self.mode = port, user, password, mode
        self.messages: Seen[Came] = Seen("messages")
        self.receipts: Seen[Told] = Seen("receipts")
        self._joiner = Joiner()

    def __enter__(self) -> Self:
        try:
            self.bind()
        except Refused:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bind(self) -> None:
        """Raises Refused."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def send(self, source: str, destination: str, text: str, receipt: bool = True) -> Reply:
        raise NotImplementedError

    def heard(
        self, source: str, destination: str, octets: bytes, esm_class: int, coding: int, tlvs: dict[int, bytes]
    ) -> None:
        """A deliver_sm as it came."""
        octets = tlvs.get(words.MESSAGE_PAYLOAD, octets)
        if esm_class & words.RECEIPT:
            self.receipts.add(words.told_by(octets.decode("latin-1"), tlvs, source, destination))
            return
        part, rest = words.part_of(esm_class, octets, tlvs)
        text = words.DECODERS.get(coding, bytes.hex)(rest)
        whole = self._joiner.add(source, destination, part, text)
        if whole is not None:
            self.messages.add(whole)


class SmpplibEsme(Esme):
    """smpplib 2.2: one thread does all of the connection's work, as the library is not made for two."""

    def __init__(self, port: int, user: str, password: str, mode: str = "trx", tls: ssl.SSLContext | None = None):
        super().__init__(port, user, password, mode)
        if tls is not None:  # the library names no host when it wraps the socket
            tls.check_hostname = False
        self._tls = tls
        self._answers: Seen[tuple[int, int, str]] = Seen("submit_sm_resp")  # sequence, status, id
        self.client: Any = None

    def bind(self) -> None:
        self.client = smpplib.client.Client(HOST, self.port, ssl_context=self._tls, allow_unknown_opt_params=True)
        self.client.set_message_received_handler(self._received)
        self.client.set_message_sent_handler(self._answered)
        self.client.set_error_pdu_handler(lambda pdu: None)
        bind = {"trx": "bind_transceiver", "tx": "bind_transmitter", "rx": "bind_receiver"}[self.mode]
        try:
            self.client.connect()
            getattr(self.client, bind)(system_id=self.user, password=self.password)
        except smpplib.exceptions.PDUError as why:
            self._drop()
            raise Refused(int(why.args[1])) from why
        except smpplib.exceptions.ConnectionError as why:
            self._drop()
            raise Refused(0) from why
        self._wake, self._woken = socket.socketpair()
        self._orders: list[tuple[Any, Any]] = []
        threading.Thread(target=self._work, daemon=True).start()

    def _drop(self) -> None:
        self.client.state = smpplib.consts.SMPP_CLIENT_STATE_CLOSED
        with suppress(OSError):
            self.client.disconnect()

    def _work(self) -> None:
        connection = self.client._socket  # the library has no other way to say "wait for both"
        with suppress(OSError, ValueError, smpplib.exceptions.ConnectionError):
            while True:
                if not (self._tls and connection.pending()):
                    select.select([connection, self._woken], [], [])
                if select.select([self._woken], [], [], 0)[0] and not self._obey():
                    break
                while (self._tls and connection.pending()) or select.select([connection], [], [], 0)[0]:
                    self.client.read_once()
        self._drop()

    def _obey(self) -> bool:
        self._woken.recv(1)
        what, outcome = self._orders.pop(0)
        outcome.add(what())
        return what != self._end

    def _end(self) -> None:
        with suppress(smpplib.exceptions.ConnectionError, smpplib.exceptions.PDUError, OSError):
            self.client.unbind()

    def _order(self, what: Any) -> Any:
        outcome: Seen[Any] = Seen("outcomes")
        self._orders.append((what, outcome))
        self._wake.send(b"x")
        return outcome.count(1)[0]

    def close(self) -> None:
        if hasattr(self, "_wake"):
            with suppress(AssertionError, OSError):
                self._order(self._end)

    def send(self, source: str, destination: str, text: str, receipt: bool = True) -> Reply:
        pieces, coding, esm_class = smpplib.gsm.make_parts(text)
        sent = [
            self._order(
                lambda piece=piece: self.client.send_message(
                    source_addr_ton=1, source_addr_npi=1, source_addr=source, dest_addr_ton=1, dest_addr_npi=1,
                    destination_addr=destination, short_message=piece, data_coding=coding, esm_class=esm_class,
                    registered_delivery=int(receipt),
                )
            ).sequence
            for piece in pieces
        ]  # fmt: skip
        answers = self._answers.until(lambda found: set(sent) <= {answer[0] for answer in found})
        mine = sorted(answer for answer in answers if answer[0] in sent)
        return Reply(max(status for _, status, _ in mine), tuple(id for _, _, id in mine))

    def _answered(self, pdu: Any) -> None:
        id = pdu.message_id or b""
        self._answers.add((pdu.sequence, pdu.status, id.decode() if isinstance(id, bytes) else id))

    def _received(self, pdu: Any) -> None:
        tlvs = {}
        for tag, name in (
            (words.MESSAGE_PAYLOAD, "message_payload"), (words.RECEIPTED_ID, "receipted_message_id"),
            (words.MESSAGE_STATE, "message_state"), (words.SAR_REFERENCE, "sar_msg_ref_num"),
            (words.SAR_TOTAL, "sar_total_segments"), (words.SAR_NUMBER, "sar_segment_seqnum"),
        ):  # fmt: skip
            value = getattr(pdu, name, None)
            if value is not None:
                tlvs[tag] = value.to_bytes(2, "big") if isinstance(value, int) else bytes(value)
        self.heard(
            pdu.source_addr.decode(), pdu.destination_addr.decode(), pdu.short_message or b"",
            pdu.esm_class, pdu.data_coding, tlvs,
        )  # fmt: skip


class AioEsme(Esme, aiosmpplib.AbstractHook):
    """aiosmpplib 0.7: it reconnects by itself, joins long texts, and knows no TLS.

    A long text goes by UDH or, with `payload`, in message_payload; its sar_* parts cannot be had: it trips over itself.
    """

    def __init__(self, port: int, user: str, password: str, mode: str = "trx", payload: bool = False) -> None:
        super().__init__(port, user, password, mode)
        self._payload, self._number = payload, 0
        self._loop = LoopThread()
        self._answers: Seen[tuple[str, int, str]] = Seen("submit_sm_resp")  # log_id, status, id
        self._statuses: list[int] = []  # of bind responses, as they came on the wire
        self.errors: Seen[Exception] = Seen("errors")

    def bind(self) -> None:
        self._loop.do(self._bind())

    async def _bind(self) -> None:
        modes = {
            "trx": aiosmpplib.BindMode.TRANSCEIVER,
            "tx": aiosmpplib.BindMode.TRANSMITTER,
            "rx": aiosmpplib.BindMode.RECEIVER,
        }
        retry = SimpleExponentialBackoff(min_delay=50, max_increases=2)
        self.esme = aiosmpplib.ESME(
            HOST, self.port, self.user, self.password, bind_mode=modes[self.mode], hook=self, log_level="CRITICAL",
            retry_timer=retry,
        )  # fmt: skip
        try:
            await self.esme.connect()
        except Exception as why:  # SmppError, or a ValueError of its own: it cannot read a refusal without a body
            raise Refused(self._statuses[-1] if self._statuses else 0) from why
        self._running = asyncio.create_task(self.esme.start())

    def close(self) -> None:
        if hasattr(self, "_running"):
            self._loop.do(self._close())
        self._loop.stop()

    async def _close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(5):
                await self.esme.stop()
        self._running.cancel()
        await asyncio.wait([self._running])

    def send(self, source: str, destination: str, text: str, receipt: bool = True) -> Reply:
        self._number += 1
        name = f"m{self._number}"
        message = aiosmpplib.SubmitSm(
            short_message=text, source=aiosmpplib.PhoneNumber(source), destination=aiosmpplib.PhoneNumber(destination),
            registered_delivery=int(receipt), log_id=name, auto_message_payload=self._payload,
            esm_class=0 if self._payload else words.UDHI,  # it takes the bit away again where one part will do
        )  # fmt: skip
        self._loop.do(self.esme.broker.enqueue(message))
        _, status, id = self._answers.first(lambda answer: answer[0] == name)
        return Reply(status, (id,))

    async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        """Of the hook: nothing to do."""

    async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
        self.errors.add(error)

    async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        if int.from_bytes(pdu[4:8], "big") in (0x80000001, 0x80000002, 0x80000009):
            self._statuses.append(int.from_bytes(pdu[8:12], "big"))
        elif isinstance(smpp_message, aiosmpplib.DeliverSm):
            self._delivered(smpp_message)
        elif isinstance(smpp_message, aiosmpplib.SubmitSmResp):
            self._answers.add((smpp_message.log_id, int(smpp_message.command_status), smpp_message.message_id))

    def _delivered(self, message: Any) -> None:
        source, destination = message.source.number, message.destination.number
        if message.is_receipt():
            found = message.parse_receipt()
            self.receipts.add(Told(str(found.get("id", "")), str(found.get("stat", "")), source, destination))
        else:
            text = message.short_message or message.message_payload
            self.messages.add(Came(source, destination, text))


class Smpp34Esme(Esme):
    """smpp34 1.5: the fastest. It splits nothing: a long text goes by UDH or, with `payload`, in message_payload.

    TLS where an authority is given. A refused bind it calls "timed out": Refused(0).
    """

    def __init__(
        self, port: int, user: str, password: str, mode: str = "trx", payload: bool = False,
        authority: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(port, user, password, mode)
        self._authority, self._payload, self._reference = authority, payload, 0
        self._loop = LoopThread()
        self.gone: Seen[str] = Seen("ends")

    def bind(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if self._authority is not None:
                patch.setenv("SSL_CERT_FILE", str(self._authority))  # it has no setting of its own
            self._loop.do(self._bind())

    async def _bind(self) -> None:
        self._client = smpp34.Client(
            HOST, self.port, self.user, self.password, bind_type=self.mode.upper(),
            tls=self._authority is not None, window_size=10, connect_timeout_ms=3000,
        )  # fmt: skip
        try:
            self._smsc = await self._client.connect()
        except Exception as why:
            raise Refused(0) from why
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while isinstance(event := await self._smsc.next(), smpp34.DeliverSmEvent):
            tlvs = {tlv.tag: tlv.value for tlv in event.tlvs}
            self.heard(
                event.source_addr, event.destination_addr, event.short_message, event.esm_class, event.data_coding, tlvs
            )
        self.gone.add("disconnected")

    def close(self) -> None:
        with suppress(Exception):
            self._loop.do(self._close(), 10)
        self._loop.stop()

    async def _close(self) -> None:
        if hasattr(self, "_smsc"):
            await self._smsc.unbind()
        await self._client.stop()

    def send(self, source: str, destination: str, text: str, receipt: bool = True) -> Reply:
        return self._loop.do(self._send(source, destination, text, receipt))

    async def _send(self, source: str, destination: str, text: str, receipt: bool) -> Reply:
        replies = []
        for bits, coding, octets, tlvs in self._parts(text):
            replies.append(
                await self._smsc.submit_sm(
                    destination, octets, source_addr=source, source_addr_ton=1, source_addr_npi=1, dest_addr_ton=1,
                    dest_addr_npi=1, esm_class=bits, data_coding=coding, registered_delivery=int(receipt), tlvs=tlvs,
                )
            )  # fmt: skip
        return Reply(max(reply.command_status for reply in replies), tuple(reply.message_id or "" for reply in replies))

    def _parts(self, text: str) -> list[tuple[int, int, bytes, list[Any]]]:
        if self._payload:
            coding, octets = words.encode(text)
            return [(0, coding, b"", [smpp34.Tlv(smpp34.TLV_MESSAGE_PAYLOAD, octets)])]
        self._reference += 1
        return [(*part, []) for part in words.parts(text, self._reference)]
