"""Settings of the mail server that sends our e-mails."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sipsms.core.validators import AbsolutePath, Positive, Secret
from sipsms.core.yaml_file import Model

_LOCAL = ("localhost", "127.0.0.1", "::1")


class Smtp(Model):
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    from_: str = Field(alias="from", pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$")
    username: str | None = None
    password: Secret | None = None
    tls: Literal["auto", "required", "implicit", "off"] = "auto"
    ca: AbsolutePath | None = None
    timeout: Positive = 30.0
    alarms: str | None = None

    @model_validator(mode="after")
    def _login(self) -> Smtp:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` go together")
        if self.password is not None and self.tls == "off" and self.host not in _LOCAL:
            raise ValueError("the password would travel in the clear: `tls: off` is for a server on this host")
        return self
