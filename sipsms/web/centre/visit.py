"""A visit: one request of a person, with the session, the rights and the fields of the form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from sipsms.accounts.directory import Directory
from sipsms.accounts.sign_in import Place
from sipsms.accounts.users import By
from sipsms.core.account import Did
from sipsms.core.user import Role, Session, User
from sipsms.store.tokens import digest
from sipsms.web.request import Fields, address_of
from sipsms.web.request import text as text_of

ANYBODY: Final[frozenset[Role]] = frozenset()  # no session is needed
SIGNED_IN: Final = frozenset(Role)
MESSAGES: Final = frozenset({Role.USER, Role.CUSTOMER})  # operators and resellers only by a view of a customer
CUSTOMERS: Final = frozenset({Role.CUSTOMER, Role.RESELLER, Role.OPERATOR})
RESELLERS: Final = frozenset({Role.RESELLER, Role.OPERATOR})
OPERATORS: Final = frozenset({Role.OPERATOR})


class Missing(Exception):
    """There is no such page, or the visitor may not know of it: both get the same 404."""


class Stop(Exception):
    """The request is answered already."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Nav(NamedTuple):
    """The link to a page in the side bar."""

    section: str
    icon: str
    label: str


@dataclass(frozen=True, slots=True)
class Visit:
    request: Request
    place: Place
    token: str = ""  # of the session; empty: nobody is signed in
    session: Session | None = None
    user: User | None = None
    role: Role | None = None  # the role whose pages are shown; while a customer is viewed: CUSTOMER
    customer: str = ""  # the customer whose pages are shown
    directory: Directory = field(default_factory=Directory)
    form: Fields = field(default_factory=dict)
    now: float = 0.0

    # --- who asks ---

    @property
    def who(self) -> User:
        """The signed-in user. Raises Missing if there is none."""
        if self.user is None:
            raise Missing
        return self.user

    @property
    def here(self) -> Session:
        """The session. Raises Missing if there is none."""
        if self.session is None:
            raise Missing
        return self.session

    @property
    def by(self) -> By:
        """The author of changes, for the audit log."""
        return By(self.who.name, self.place.address)

    @property
    def is_viewing(self) -> bool:
        """Return whether a customer's pages are shown to somebody else, who must not change anything."""
        return self.session is not None and self.session.viewed != "" and self.session.view_ends > self.now

    @property
    def csrf(self) -> str:
        """The token that every form of this session carries. It follows from the session's token, which it hides."""
        return digest(f"csrf {self.token}") if self.token else ""

    @property
    def is_signed_in(self) -> bool:
        return self.session is not None and not self.session.stage

    # --- what they may see ---

    def may(self, roles: Collection[Role]) -> bool:
        return self.role in roles

    def dids(self) -> list[Did]:
        """Return the DIDs whose messages the visitor may see, by number."""
        if self.role not in MESSAGES:
            return []
        owned = self.directory.dids_of(self.customer)
        if self.role is Role.CUSTOMER:
            return owned
        return [did for did in owned if did.number in self.who.dids]

    def sees(self, number: str) -> bool:
        """Return whether the visitor may see the messages of a DID."""
        did = self.directory.did(number)
        if did is None or did.account != self.customer or self.role not in MESSAGES:
            return False
        return self.role is Role.CUSTOMER or number in self.who.dids

    def manages(self, customer: str) -> bool:
        """Return whether this is a customer that the visitor may view: any for operators, clients for resellers."""
        account = self.directory.account(customer)
        if account is None or account.parent:
            return False
        return self.role is Role.OPERATOR or (self.role is Role.RESELLER and account.reseller == self.customer)

    # --- what they ask ---

    def text(self, name: str) -> str:
        """Return a field of the form without blanks at its ends; empty if it is missing."""
        return text_of(self.form, name).strip()

    def secret(self, name: str) -> str:
        """Return a field as it was typed: blanks belong to a password."""
        return text_of(self.form, name)

    def texts(self, name: str) -> list[str]:
        return [value for value in self.form.get(name, ()) if isinstance(value, str)]

    def whole(self, name: str) -> int:
        """Return a field that is a whole number. Raises Missing: only a forged form has another text there."""
        return whole(self.text(name))

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params


Handler = Callable[[Visit], Awaitable[Response]]


def whole(text: str) -> int:
    """Return a whole number of a path or form. Raises Missing."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Missing
    return int(text)


def place_of(request: Request) -> Place:
    return Place(address_of(request), request.headers.get("user-agent", "")[:255])


@dataclass(frozen=True, slots=True)
class Row:
    """A route of the centre. A path with {did} is only for those who see the messages of this DID.

    `stages`: the steps of a sign-in whose session may ask (see `accounts.sign_in`); a row without it needs a completed
    sign-in. `while_viewing`: a change that is possible while the pages of a customer are viewed."""

    method: str
    path: str
    handler: Handler
    who: frozenset[Role]
    nav: Nav | None = None
    stages: frozenset[str] = frozenset({""})
    while_viewing: bool = False
