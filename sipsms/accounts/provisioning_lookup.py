"""Provisioning links as phones fetch them: each fetch is counted, and a link ends with the password it was made for."""

from __future__ import annotations

import time
from collections.abc import Callable

from sipsms.accounts.directory import Directory
from sipsms.accounts.provisioning import Settings
from sipsms.core.ha1 import ha1
from sipsms.store import provisioning_links
from sipsms.store.store import Store


class ProvisioningLookup:
    def __init__(self, store: Store, directory: Directory, base_url: Callable[[], str]) -> None:
        """`base_url`: how phones reach this server by HTTP."""
        self._store = store
        self._directory = directory
        self._base_url = base_url

    async def fetch(self, token: str) -> Settings | None:
        """Return the settings that a phone with this link may have, and use up one fetch. Raises Unavailable."""
        now = time.time()
        if not await self._store.read(lambda db: provisioning_links.is_there(db, token, now)):
            return None
        fetched = await self._store.write(lambda db: provisioning_links.take(db, token, now))
        if fetched is None:
            return None
        settings, account = Settings(fetched.account, **fetched.secret), self._directory.account(fetched.account)
        if account is None or not account.enabled or account.ha1_md5 != ha1(*settings.credentials):
            return None  # the account has another password now
        return settings._replace(services=f"{self._base_url()}/acrobits" if account.app_messages else "")
