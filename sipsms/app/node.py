"""The composition root: builds everything in order, runs it, reloads it, and stops it in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from sipsms import __version__
from sipsms.accounts.directory import Directory
from sipsms.accounts.passwords import Passwords
from sipsms.accounts.provisioning_link import fetch
from sipsms.accounts.service import AccountService
from sipsms.accounts.sign_in import SignIn
from sipsms.accounts.users import UserService
from sipsms.app import carrier_status, certificates
from sipsms.app.carrier_set import CarrierSet
from sipsms.app.carrier_status import CarrierStatus
from sipsms.app.certificates import CertificateWatch
from sipsms.app.control import Control
from sipsms.app.couriers import IDEMPOTENT, Couriers
from sipsms.app.directory_refresh import DirectoryRefresh
from sipsms.app.http_apis import HttpApis
from sipsms.app.operations import Operations
from sipsms.app.reload import reload
from sipsms.app.settings import Config, literal_secrets, load_dialplan, path_of, short_secrets
from sipsms.app.smpp import SmppNode, resolver
from sipsms.app.tasks import Job, Tasks, keep_doing, run_loop, survives
from sipsms.core import log
from sipsms.core.admission import Admission
from sipsms.core.clock import steady_clock
from sipsms.core.courier_id import SIP
from sipsms.core.errors import Unavailable
from sipsms.core.flow_address import FlowAddress
from sipsms.core.listener import ListenError, bind_url, describe
from sipsms.core.message import Delivery, State, is_copy
from sipsms.core.registration import Binding
from sipsms.core.report_request import ImdnRequest
from sipsms.core.yaml_file import Document
from sipsms.messaging.build import build as build_messaging
from sipsms.messaging.delivery_reports import Stage
from sipsms.messaging.media_store import MediaFiles
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.messaging.reconciliation import Reconciler
from sipsms.routing.dialplan import Dialplan
from sipsms.sip.courier import SipCourier
from sipsms.sip.digest import Authenticator, Nonces
from sipsms.sip.endpoint import Endpoint
from sipsms.sip.location import Location
from sipsms.sip.message_server import MessageServer
from sipsms.sip.presence import Presence
from sipsms.sip.presence_server import PresenceServer
from sipsms.sip.proxy_server import ProxyServer
from sipsms.sip.rules import SipRules
from sipsms.sip.server import Server
from sipsms.sip.tls import ServerCertificate
from sipsms.sip.trace import Tracer
from sipsms.sip.transport import Flow, StreamConnection
from sipsms.sip.trunk import Trunk, Trunks
from sipsms.smpp.carrier import SmppCarrier, SmppCarriers
from sipsms.store import accounts, carrier_state, provisioning_links, secrets, sqlite
from sipsms.store.engine import lock, open_engine
from sipsms.store.store import open_store
from sipsms.web.carrier_hooks import Hooks
from sipsms.web.client import AiohttpClient
from sipsms.web.media import MediaDownload
from sipsms.web.provisioning import ProvisioningDownload
from sipsms.web.response_ack import look
from sipsms.web.server import HttpServer, build

DRAIN = 10.0  # seconds that what is out may take to come back on SIGTERM
DRAIN_PHONES = 2.0  # for phones: what they do not answer is sent again, under the same Call-ID, after the start
_FORGET_EVERY = 3600.0
_NOTICES_EVERY = 600.0
_LATE_PARTS_EVERY = _DIRECTORY_EVERY = _MEDIA_EVERY = 10.0


class BoundSocket(NamedTuple):
    """A socket that has its address and is not served yet."""

    scheme: str
    host: str
    port: int
    sock: socket.socket


class Node:
    couriers: Couriers
    trunks: Trunks

    def __init__(self, config: Config, path: Path) -> None:
        self.config = config
        self.path = path
        self._clock = steady_clock()
        self._loop = asyncio.get_running_loop()
        self.tasks = Tasks()
        self._stop = asyncio.Event()
        self._ended: list[Binding] = []  # bindings that are over and may have a successor
        self.directory = Directory()
        self.admission = Admission(config.connections.limits, self._loop.time)
        self.http: HttpServer | None = None
        self.certificates: CertificateWatch | None = None

    # --- start ---

    async def start(self) -> None:
        """Bind, recover, load, then listen. Raises TlsError, ConfigError, StoreError or OSError.

        Nobody may meet a server that is half loaded: an empty directory refuses right passwords, an empty queue lets
        messages pass each other. So nothing is read from any socket before all is loaded (see `listener`).
        """
        plan = load_dialplan(self.config)
        self._certify()
        async with AsyncExitStack() as undo:
            self._lock = lock(open_engine(self.config.store_url), "server")
            if self._lock is not None:
                undo.callback(self._lock.close)
            sockets = self._bind()
            for bound in sockets:
                undo.callback(bound.sock.close)
            self.store = open_store(self.config.store_url, socket.gethostname())
            undo.push_async_callback(self.store.close)
            await self._build(plan)
            undo.push_async_callback(self.endpoint.close, 0)
            await self._load()
            await self._listen(sockets)
            undo.pop_all()
        self._run()

    async def _build(self, plan: Dialplan) -> None:
        config, node = self.config, socket.gethostname()
        self.location = Location(self.store)
        files = MediaFiles(config.media_folder, lambda: self.config.base_url)
        self.messaging = messaging = build_messaging(
            self.store, self.directory, self.location, plan, self._clock, files, settings=config.queue,
            policy=config.policy, on_change=self._delivery_changed,
            fetch=lambda url, customer="": self.couriers.fetch(url, customer),
            daily=lambda: self.config.api.daily_sends, look=look,
        )  # fmt: skip
        self.queue = messaging.queue
        self._build_sip(*await self.store.write(lambda db: [secrets.get_or_make(db, n) for n in ("trunks", "tags")]))
        resolve = resolver(lambda address: "")  # the operator has configured the names
        self.smscs = SmppCarriers(
            lambda name, one: SmppCarrier(
                name, one, messaging.inbound, messaging.reporter, self.directory, self.store, self._clock, resolve,
                self.tasks.spawn,
            ),
            self.tasks.spawn,
        )  # fmt: skip
        self._client = AiohttpClient()  # for URLs that the operator has configured
        self.carriers = CarrierSet(self._client, files, messaging, self._clock, self.trunks, self.smscs)
        self.couriers = Couriers(
            lambda: self.config, self.store, self.directory, messaging, self._clock, files, self._client,
            self.carriers.media_headers,
        )  # fmt: skip
        self.carriers.configure(config)
        self.couriers.configure(config)
        self._status = CarrierStatus(self.store, messaging.alarms, self.queue, self.carriers.by_name, self._clock)
        self._reconciler = Reconciler(
            self.store, messaging, self.carriers.by_name, self._clock,
            lambda name: self.store.read(lambda db: carrier_state.polled_at(db, name)),
            lambda name, when: self.store.write(lambda db: carrier_state.put(db, name, polled_at=when)),
        )  # fmt: skip
        service = AccountService(self.store, lambda: self.config.service, self._take_over)
        self.passwords = Passwords()
        people = UserService(self.store, self.passwords, self._clock, lambda: self.config.domain)
        self.sign_in = SignIn(self.store, self.directory, self.passwords, self._clock)
        self.apis = HttpApis(
            lambda: self.config, self.store, self.directory, messaging, self.couriers, self._clock, service,
            self.location, people, self.sign_in,
        )  # fmt: skip
        self.control = Control(
            Operations(lambda: self.config, self.store, service, messaging, self.directory, people), self.tracer.watch
        )
        self.smpp = SmppNode(
            lambda: self.config, self.store, self.directory, messaging, self._clock,
            files.url, node, self.smscs, self.admission,
        )  # fmt: skip
        self.changes = DirectoryRefresh(
            self.store, self.directory, self.location, self.endpoint, self.queue, self.notifier, self.smpp
        )
        self.hooks = Hooks(
            messaging.inbound, messaging.reporter, self.carriers.by_name, lambda: self.config.base_url, time.time
        )

    def _delivery_changed(self, delivery: Delivery, state: State, detail: str) -> None:
        self.messaging.feed.changed(delivery, state, detail)
        request = delivery.message.report
        if request is None or state is State.QUEUED or is_copy(delivery):
            return
        if state is not State.ACCEPTED:
            self.tasks.spawn(self.messaging.reporter.ended(delivery))
        elif not isinstance(request, ImdnRequest):
            self.tasks.spawn(self.messaging.reporter.report(delivery.message, Stage.SENT))

    def _build_sip(self, trunk_key: bytes, tag_key: bytes) -> None:
        config = self.config
        sip = config.sip
        self.endpoint = Endpoint(sip, self._tls, self._origin_allowed, self.admission, tag_key)
        self.tracer = Tracer(self.endpoint, config.domain, self._is_of, self.tasks.spawn)
        nonces = Nonces(sip.nonce_key(), sip.nonce_lifetime, self._clock())
        authenticator = Authenticator(config.realm, list(config.digest), nonces)
        presence = Presence(config.domain, sip.min_expires, sip.max_expires)
        self.notifier = PresenceServer(
            presence, self.endpoint, self.directory, self.location, self._clock, self.tasks.spawn
        )
        self.location.on_change = self.notifier.changed
        rules, key = SipRules(config.domain, config.aliases, sip, config.messages), os.urandom(32)
        messages = MessageServer(
            rules,
            self.directory,
            self.location,
            self.messaging.router,
            self.messaging.outbound,
            ProxyServer(self.endpoint, config.realm, key),
            self._clock,
            key,
        )
        self.server = Server(
            rules, authenticator, self.directory, self.location, self.store, self.messaging.devices, messages,
            self.notifier, self._clock, self.tasks.spawn, key,
        )  # fmt: skip
        self.courier = SipCourier(
            self.endpoint, self.location, lambda: self.server.rules, self._clock, sip.max_datagram,
            lambda media: self.couriers.files.url(media),
        )  # fmt: skip
        self.queue.set_courier(SIP, self.courier, CourierLimits(config.queue.sip_concurrency))
        self.trunks = Trunks(
            lambda name, one: Trunk(
                name, one, self.endpoint, sip, self.messaging.inbound, lambda: self.server.rules, trunk_key,
                self.server.trust, self._clock,
            ),
            self.tasks.spawn,
        )  # fmt: skip
        self.server.trunks = self.trunks.by_token
        self.endpoint.serve(self.server)
        self.endpoint.on_connect = self._connected
        self.endpoint.on_disconnect = self._disconnected

    def _origin_allowed(self, origin: str) -> bool:
        return self.server.rules.takes_page(origin)

    def _is_of(self, account: str, flow: Flow) -> bool:
        """Is a phone of this account registered on this flow?"""
        here = (flow.local, flow.number) if flow.number else (FlowAddress.of("udp", flow.remote), 0)
        found = self.location.bindings(account, self._clock())
        return any((one.local if flow.number else one.received, one.flow) == here for one in found)

    def _connected(self, connection: StreamConnection) -> None:
        connection.in_use = lambda: self.location.holds_flow(connection.local, connection.number)

    def _disconnected(self, connection: StreamConnection) -> None:
        self.tasks.spawn(self.location.disconnected(connection.local, connection.number))

    # --- sockets ---

    def _certify(self) -> None:
        self._tls = None
        if (tls := self.config.tls) is not None:
            certificate = ServerCertificate(tls.certificate, tls.key)
            self._tls = certificate.context
            self.certificates = CertificateWatch(certificate, tls.certificate, self._clock)

    def _bind(self) -> list[BoundSocket]:
        """Take all ports, before the store is touched. Raises ListenError with none of them taken."""
        listen, bound = self.config.listen, list[BoundSocket]()
        wanted: list[tuple[str, str, int]] = [(one.transport, one.host, one.port) for one in listen.sip]
        wanted += [("ssmpp" if one.tls else "smpp", one.host, one.port) for one in listen.smpp]
        wanted += [("http", listen.http.host, listen.http.port)] if listen.http is not None else []
        try:
            for scheme, host, port in wanted:
                sock = bind_url(scheme, host, port)
                bound.append(BoundSocket(scheme, host, sock.getsockname()[1], sock))
        except ListenError:
            for one in bound:
                one.sock.close()
            raise
        return bound

    async def _listen(self, sockets: Sequence[BoundSocket]) -> None:
        """Let everybody in: all is loaded. Raises ListenError: somebody else was quicker on a port we have bound."""
        for bound in sockets:
            try:
                await self._listen_on(bound)
            except OSError as error:
                raise ListenError(describe(error, f"{bound.scheme}://{bound.host}:{bound.port}")) from None
        await self.control.listen(path_of(self.config))
        log.note(
            "started", domain=self.config.domain, bindings=len(self.location), accounts=len(self.directory),
            listening=[f"{one.scheme}://{one.host}:{one.port}" for one in sockets], sqlite=sqlite.VERSION,
        )  # fmt: skip

    async def _listen_on(self, bound: BoundSocket) -> None:
        match bound.scheme:
            case "http":
                phones = ProvisioningDownload(
                    lambda token: fetch(self.store, self.directory, self.config.base_url, token)
                )
                application = build(
                    self.hooks, self._readiness, phones, MediaDownload(self.couriers.files), self.apis.routes(),
                    self.config.api.metrics_from, {"version": __version__, "sqlite": sqlite.VERSION},
                )  # fmt: skip
                self.http = HttpServer(application, bound.sock, self.config.api.trusted_proxies, self.admission)
                self.http.listen()
            case "smpp" | "ssmpp":
                self.smpp.smsc.listen(bound.sock, self._tls if bound.scheme == "ssmpp" else None)
            case _:
                await self.endpoint.listen_on(bound.scheme, bound.sock)

    async def _load(self) -> None:
        """Read back all that a request is answered from. Raises Unavailable."""
        if other := await self.store.read(lambda db: accounts.other_realms(db, self.config.realm)):
            log.warning(
                "other_realm", accounts=other,
                why=f"their passwords were made for another realm than {self.config.realm}: "
                "set `realm` back, or set their passwords again",
            )  # fmt: skip
        await self.changes.refresh()
        await self.location.load(self._clock())
        for host in self.location.hosts():
            self.server.trust(host)
        await self.queue.start([SIP, *IDEMPOTENT, *self.carriers.idempotent()], hold=True)
        await self.messaging.devices.start(await self.store.open_accounts())
        await self.smpp.smsc.start()

    def _run(self) -> None:
        self.tracer.send_to(self.config.trace.hep)
        self.tasks.spawn(self.queue.run())
        self.tasks.spawn(keep_doing(self._jobs(), self._clock))
        self.tasks.spawn(keep_doing(self._carrier_jobs(), self._clock))
        self.trunks.start()
        self.smscs.start()
        if self.http is not None:
            self.tasks.spawn(self.http.run())

    # --- while it runs ---

    async def _take_over(self) -> None:
        """Take over what a change has written to the store."""
        await self.changes.refresh()
        await self.messaging.devices.take_new()

    def _carrier_jobs(self) -> list[Job]:
        """Return the jobs that may take long, because carriers are asked or files removed."""
        jobs = [
            Job(1.0, self._reconciler.step), Job(_LATE_PARTS_EVERY, self.messaging.parts.give_up_waiting),
            Job(carrier_status.EVERY, self._status.report), Job(_MEDIA_EVERY, self._forget_media),
        ]  # fmt: skip
        return jobs if self._lock is not None else [*jobs, Job(_DIRECTORY_EVERY, self._look_at_directory)]

    async def _look_at_directory(self) -> None:
        """Take over what another process changed, in a database that no lock keeps for us alone."""
        if await self.store.directory_version() > self.directory.version:
            await self._take_over()

    async def _forget_media(self) -> None:
        try:
            await self.couriers.files.forget(time.time() - self.config.media.keep)
        except OSError as error:
            log.warning("media_not_removed", why=error.strerror or str(error))

    def _jobs(self) -> list[Job]:
        """Jobs that are done again and again, and how often."""
        jobs = [
            Job(1.0, self._sweep), Job(1.0, self.smpp.sweep), Job(1.0, self.messaging.outbound.usage.save),
            Job(1.0, self._move_to_successors), Job(_NOTICES_EVERY, self.messaging.reporter.tell_ended),
            Job(_FORGET_EVERY, self._forget, first=60.0),
        ]  # fmt: skip
        return jobs if self.certificates is None else [*jobs, Job(certificates.EVERY, self.certificates.look)]

    async def _sweep(self) -> None:
        self.endpoint.sweep()
        self.notifier.sweep()
        log.BINDINGS.set(len(self.location))

    async def _move_to_successors(self) -> None:
        """Remove expired bindings; a phone that came back under another contact gets what waits for the old one."""
        await self.messaging.devices.end_removed()
        self._ended.extend(await self.location.sweep(self._clock()))
        self._ended = [binding for binding in self._ended if not await self._settled(binding)]

    async def _settled(self, ended: Binding) -> bool:
        pair = self.location.successor(ended)
        if pair is None:
            return True
        if not await self.messaging.devices.came_back_as(*pair):
            return False
        await self.location.forget(pair[0])
        return True

    async def _forget(self) -> None:
        """Delete what is older than the settings allow."""
        now = self._clock()
        await self.location.forget_devices(now - self.config.queue.device_memory)
        await self.store.write(lambda db: provisioning_links.forget(db, time.time()))
        await self.store.forget_notices(now - self.config.queue.keep)
        await self.store.forget_receipts(now)
        await self.sign_in.forget()

    async def _readiness(self) -> dict[str, str]:
        try:
            await self.store.ping()
        except Unavailable as error:
            return {"store": str(error).splitlines()[0]}
        return {"store": "ok"}

    # --- end ---

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, reload, self)
        await self._stop.wait()
        await self.close()

    async def close(self) -> None:
        """Stop in reverse: listeners first, then attempts under way, then the store."""
        log.note("stopping")
        if self.http is not None:
            self.http.stop()
        self.apis.close()
        await survives(self.smpp.close)
        await self.trunks.leave()
        await self.endpoint.refuse_new(DRAIN / 2)
        drained = self._loop.create_task(self.queue.drain(DRAIN))
        await asyncio.wait((drained,), timeout=DRAIN_PHONES)
        self.endpoint.give_up()
        await drained
        await self.smscs.close()
        await survives(self.smpp.finish)
        await self.endpoint.close(1.0)
        if self.http is not None:
            await self.http.finished(DRAIN / 2)  # a request must not find the store closed
        self.trunks.close()
        self.control.close()
        self.tracer.close()
        await self.tasks.end()
        await survives(self.messaging.outbound.usage.save)
        await self.couriers.close()
        await self._client.close()
        self.passwords.close()
        await self.store.close()
        if self._lock is not None:
            self._lock.close()
        log.note("stopped")


async def _serve(config: Config, path: Path) -> None:
    node = Node(config, path)
    gc.collect()
    gc.disable()  # what a start reads stays: to look for cycles in it again and again took a third of the time
    await node.start()
    for line in [*literal_secrets(Document.read(path)), *short_secrets(config.carriers)]:
        log.warning("secret", where=line)
    if why := sqlite.warning():
        log.warning("sqlite", why=why)
    _tune_collector()
    await node.run()


def _tune_collector() -> None:
    """Make the garbage collector look rarely: requests leave no cycles, and its default costs a fifth of all time."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 20, 50)


def serve(config: Config, path: Path) -> None:
    """Run a server until it is told to stop. Raises what `Node.start` does."""
    log.setup(config.log.level, config.log.format)
    run_loop(_serve(config, path))
