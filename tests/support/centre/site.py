"""A server with people in its store, for the tests of the message centre.

    with CentreSite(folder) as site:
        visitor = site.visitor("ana")       # an HTTP client that is signed in
        page = browser.new_page(); site.enter(page, "ana")   # the same in a browser (tests/centre)

`acme` has two DIDs and the people ana (customer) and luis (user of WORKSHOP), `other` has kim, `reseller` manages acme.
`op` is an operator with an authenticator app. All have PASSWORD.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyotp
from argon2 import PasswordHasher

from sipsms.core.user import Role
from sipsms.store import accounts, dids, users
from sipsms.store.accounts import Hashes
from sipsms.store.engine import ensure_schema, open_engine
from tests.support.centre.visitor import Visitor
from tests.support.node.server import Node

PASSWORD = "three plain words"
WORKSHOP, SALES, FOREIGN = "5550001111", "5550002222", "5550009999"
KEY = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # of op's authenticator app
PEOPLE = {
    "ana": ("acme", Role.CUSTOMER, ()),
    "luis": ("acme", Role.USER, (WORKSHOP,)),
    "kim": ("other", Role.CUSTOMER, ()),
    "rita": ("reseller", Role.RESELLER, ()),
    "op": ("", Role.OPERATOR, ()),
}
CORPUS = (  # texts that must never become markup
    "<script>document.title='hacked'</script>", '"><img src=x onerror=document.title=\'hacked\'>',
    "'><svg onload=document.title='hacked'>", "<b hx-get=/more hx-trigger=load>x</b>", "</textarea><h1>x</h1>",
    "</title><script src=//evil.example></script>", "<a href=javascript:alert(1)>x</a>", "<!-- <style>",
)  # fmt: skip
ROLES = {"operator": "op", "reseller": "rita", "customer": "ana", "user": "luis"}  # role -> somebody who has it


class CentreSite(Node):
    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.ids: dict[str, int] = {}
        self._cookies: dict[str, str] = {}
        self._steps: set[int] = set()
        self._seed()

    def _seed(self) -> None:
        """Fill the store. The passwords have quick hashes, which the first sign-in replaces."""
        engine = open_engine(f"sqlite:///{self.store}")
        ensure_schema(engine)
        hashed, now = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD), time.time()
        with engine.begin() as db:
            for name in ("acme", "other", "reseller"):
                accounts.add_account(db, name, Hashes.of(name, "pw", "sip.example.net"), now)
            accounts.set_account(db, "acme", reseller="reseller")
            for number, owner in ((WORKSHOP, "acme"), (SALES, "acme"), (FOREIGN, "other")):
                dids.add_did(db, number, owner, now, sip_account="", sms=True)
            for name, (customer, role, numbers) in PEOPLE.items():
                user = users.add(db, name, customer, role, now, email=f"{name}@example.net", numbers=numbers)
                users.set_password(db, user.id, hashed)
                if role is Role.OPERATOR:
                    users.set_second_factor(db, user.id, totp=KEY)
                self.ids[name] = user.id
        engine.dispose()

    @property
    def by_name(self) -> str:
        """The URL for a browser: a secure context, as loopback is one."""
        return f"http://localhost:{self.http_port}"

    def code(self, key: str = KEY) -> str:
        """A code that was not used yet: of a step beside the present one, if need be."""
        here = int(time.time() // 30)
        step = next(step for step in (here - 1, here, here + 1) if step > max(self._steps, default=0))
        self._steps.add(step)
        return pyotp.TOTP(key).at(step * 30)

    def visitor(self, name: str = "", *, fresh: bool = False) -> Visitor:
        """A client that is signed in as this person; without a name: nobody. `fresh`: in a session of its own."""
        visitor = Visitor(self.http_port)
        if name and not fresh and name in self._cookies:
            visitor.cookies["sms"] = self._cookies[name]
        elif name:
            answer = visitor.sign_in(name, PASSWORD)
            if answer.location.startswith("/login/code"):
                answer = visitor.post("/login/code", code=self.code())
            assert answer.status == 303, answer
            visitor.token = ""  # of the step before
            if not fresh:
                self._cookies[name] = visitor.cookies["sms"]
        return visitor

    def add_person(self, name: str, role: str, customer: str = "acme", **fields: Any) -> None:
        """Add a person with PASSWORD, as an operator does it."""
        made = self.visitor("op").post("/people", name=name, role=role, customer=customer, **fields)
        (link,) = made.all(r"<code>http://[^/]+(/password/[^<]+)</code>")
        answer = Visitor(self.http_port).post(link, password=PASSWORD, again=PASSWORD)
        assert answer.status == 303, answer.said
        (self.ids[name],) = map(int, self.visitor("op").get("/people").all(rf'/people/(\d+)">{name}<'))

    def enter(self, context: Any, name: str) -> None:
        """Give a browser's context the session of this person."""
        cookie = self.visitor(name).cookies["sms"]
        context.add_cookies([{"name": "sms", "value": cookie, "url": self.by_name}])
