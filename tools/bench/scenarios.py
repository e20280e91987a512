"""The work: who asks for what. Each scenario turns a job number into requests; `generator` does the rest.

Every job is challenged afresh and has its own Call-ID (a refresh keeps its own and counts CSeq up), because that is
what Asterisk, baresip, Linphone and pjsua2 all do. Names of accounts and numbers follow from their index, so the
server, the peer and the generator agree on them without sharing a table.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from tools.bench import wire

DOMAIN = b"sip.example.net"
PASSWORD = b"correct horse battery"


def user(account: int) -> bytes:
    return b"bench%06d" % account


def did(account: int) -> bytes:
    """Each account's own number: its caller ID, and where an SMS for it is sent."""
    return b"555%07d" % (2000000 + account)


def accounts(count: int) -> Iterator[tuple[str, str, str]]:
    """(name, password, DID)"""
    for n in range(count):
        yield user(n).decode(), PASSWORD.decode(), did(n).decode()


def open_sockets(count: int) -> list[socket.socket]:
    sockets = []
    for _ in range(count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


class _Accounts:
    """What all scenarios share: the accounts, their keys, a mark that no other run uses."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.mark = os.urandom(4).hex().encode()
        self._keys: dict[int, bytes] = {}

    def account(self, job: int) -> int:
        return job % self.count

    def _auth(self, account: int, method: bytes, uri: bytes, asked: wire.Challenge | None) -> bytes:
        if asked is None:
            return b""
        key = self._keys.get(account)
        if key is None:
            key = self._keys[account] = wire.ha1(user(account), asked.realm, PASSWORD)
        return wire.credentials(method, user(account), key, uri, asked)


class Register(_Accounts):
    """REGISTER by account after account: a first binding, later its refresh."""

    needs_delivery = False

    def request(self, job: int, branch: bytes, host: bytes, asked: wire.Challenge | None) -> bytes:
        account = self.account(job)
        return wire.REGISTER % {
            b"domain": DOMAIN,
            b"host": host,
            b"branch": branch,
            b"user": user(account),
            b"tag": branch[-9:],
            b"call_id": b"%b-%d" % (self.mark, account),
            b"cseq": 2 * job + (asked is not None) + 1,
            b"auth": self._auth(account, b"REGISTER", b"sip:" + DOMAIN, asked),
        }


class Message(_Accounts):
    """MESSAGE to a number on the telephone network: 407, then 202."""

    needs_delivery = False

    def destination(self, job: int) -> bytes:
        return b"444%07d" % (2000000 + job % 5000000)

    def request(self, job: int, branch: bytes, host: bytes, asked: wire.Challenge | None) -> bytes:
        account = self.account(job)
        to, body = self.destination(job), wire.text(job)
        return wire.MESSAGE % {
            b"to": to,
            b"domain": DOMAIN,
            b"host": host,
            b"branch": branch,
            b"user": user(account),
            b"tag": branch[-9:],
            b"call_id": b"%b-%d" % (self.mark, job),
            b"cseq": 1 + (asked is not None),
            b"auth": self._auth(account, b"MESSAGE", b"sip:%b@%b" % (to, DOMAIN), asked),
            b"length": len(body),
            b"body": body,
        }


class Inbound(Message):
    """An SMS for a registered device: a MESSAGE to a DID of the node, which comes back in and out to its phone."""

    needs_delivery = True

    def __init__(self, count: int, devices: int) -> None:
        super().__init__(count)
        self.devices = devices

    def destination(self, job: int) -> bytes:
        return did((job + self.count // 2) % self.devices)
