"""Settings of each part of a node, taken from the configuration."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from hashlib import blake2b

from sipsms.app.settings import Config
from sipsms.messaging.content_policy import PatternLimits
from sipsms.messaging.opt_out import Answers, Terms
from sipsms.routing import rules_file
from sipsms.routing.dialplan import Dialplan
from sipsms.sip.presence import Limits as PresenceLimits
from sipsms.sip.registrar import Policy
from sipsms.sip.settings import SipRules
from sipsms.sip.tls import ServerCertificate, TlsError
from sipsms.sip.trace import HepTarget
from sipsms.store.engine import COMMAND_WAIT, SERVER_WAIT, ensure_schema, open_engine
from sipsms.store.store import Store

_KEPT_FILES = 256  # descriptors that SIP connections leave to the store, HTTP and the carriers


class StartError(Exception):
    """The server cannot start; one line for whoever started it."""


def rules_of(config: Config) -> SipRules:
    sip = config.sip
    policy = Policy(sip.min_expires, sip.max_expires, sip.default_expires, sip.max_contacts)
    names = [*config.aliases, socket.gethostname()]
    texts = config.messages
    return SipRules(
        config.domain, names, policy, texts.max_length, texts.length_unit, texts.copy_prefix, sip.flood_limit,
        sip.scanners == "drop",
    )  # fmt: skip


def presence_limits(config: Config) -> PresenceLimits:
    """Subscriptions and publications last as long as registrations may, an hour at most."""
    longest = min(PresenceLimits().max_expires, config.sip.max_expires)
    return PresenceLimits(min_expires=min(config.sip.min_expires, longest), max_expires=longest)


def hep_target(config: Config) -> HepTarget | None:
    hep = config.trace.hep
    if hep is None:
        return None
    return HepTarget(hep.host, hep.port, hep.id, hep.password.get_secret_value() if hep.password else "")


def connection_limit() -> int:
    """SIP connections that this process can hold: as many files as it may open, less what the rest needs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, 1_048_576) if hard != resource.RLIM_INFINITY else 1_048_576
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most - min(_KEPT_FILES, most // 2)


def nonce_key(config: Config) -> bytes:
    """Return the key of nonces: new at each start, unless several servers must know each other's (C-082)."""
    secret = config.sip.nonce_secret
    return os.urandom(32) if secret is None else blake2b(secret.get_secret_value().encode(), digest_size=32).digest()


def load_dialplan(config: Config) -> Dialplan:
    """Raises ConfigError."""
    weights = {name: one.weight for name, one in config.carriers.items()}
    return rules_file.load(config.dialplan_directory, list(config.carriers), weights)


def terms_of(config: Config) -> Terms:
    """Return the terms of the sending policy."""
    policy = config.policy
    return Terms(
        Answers(policy.stop_reply, policy.start_reply, policy.help_reply), policy.keywords,
        frozenset(policy.shorteners) if policy.shorteners is not None else None,
        PatternLimits(policy.same_text, policy.destinations, policy.window),
    )  # fmt: skip


def check_certificate(config: Config) -> ServerCertificate | None:
    """Load the certificate of TLS listeners. Raises StartError."""
    if config.tls is None:
        return None
    try:
        return ServerCertificate(config.tls.certificate, config.tls.key)
    except TlsError as error:
        raise StartError(str(error)) from None


def open_store(config: Config, node: str, on_foreign_change: Callable[[], None]) -> Store:
    """Open the store and bring its schema up to date; `node` is empty for a command. Raises StoreError."""
    writing = open_engine(config.store_url, lock_wait=SERVER_WAIT if node else COMMAND_WAIT)
    ensure_schema(writing)
    return Store(writing, open_engine(config.store_url, read_only=True), node, on_foreign_change)
