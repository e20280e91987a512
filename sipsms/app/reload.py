"""SIGHUP: take a new configuration if it is good, else keep the old one.

All that can fail is made ready first. Then the parts take it over in one turn of the event loop, so that no request
sees some parts of the new configuration and some of the old.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from sipsms.app import settings
from sipsms.app.settings import Config
from sipsms.core import log
from sipsms.core.courier_id import CourierId
from sipsms.core.yaml_file import ConfigError
from sipsms.sip.rules import SipRules
from sipsms.sip.tls import TlsError

if TYPE_CHECKING:
    from sipsms.app.node import Node

# Settings that only a restart takes over.
AT_START = (
    "domain", "realm", "store", "listen", "digest", "sip.nonce_lifetime", "sip.nonce_secret", "sip.idle_timeout",
    "sip.handshake_timeout", "sip.first_message_timeout", "sip.advertised",
    "sip.max_datagram", "queue.retry_min", "queue.retry_max", "queue.sip_concurrency", "queue.carrier_concurrency",
    "media.directory", "api.trusted_proxies", "api.metrics_from", "web.centre.enabled",
)  # fmt: skip


def reload(node: Node) -> None:
    """Read the configuration again and take it over; log why not, if it is bad."""
    try:
        fresh = settings.load(node.path)
        plan = settings.load_dialplan(fresh)
        rules = SipRules(node.config.domain, fresh.aliases, fresh.sip, fresh.messages)
        if node.certificates is not None and fresh.tls is not None:
            node.certificates.move(fresh.tls.certificate, fresh.tls.key)
    except (ConfigError, TlsError) as error:
        log.warning("reload_refused", why=str(error), kept="the old configuration")
        return
    needs_restart = changed_at_start(node.config, fresh)
    node.server.rules = rules
    node.admission.limits = fresh.connections.limits
    node.messaging.router.dialplan = plan
    node.messaging.limits.keep = fresh.queue.keep
    node.carriers.configure(fresh)
    node.couriers.configure(fresh)
    node.tracer.send_to(fresh.trace.hep)
    node.queue.set_paused(CourierId.of_carrier(name) for name in node.directory.paused)
    node.config = fresh
    node.messaging.consent.apply(fresh.policy)
    if node.certificates is not None:
        node.tasks.spawn(node.certificates.look())
    log.setup(fresh.log.level, fresh.log.format)
    log.note("reloaded", needs_restart=needs_restart)


def changed_at_start(old: Config, fresh: Config) -> list[str]:
    """Return the names of settings that differ and that only a restart takes over."""
    return [name for name in AT_START if attrgetter(name)(fresh) != attrgetter(name)(old)]
