"""Settings of messages, their queue and the sending policy: `messages`, `queue` and `policy` of sipsms.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sipsms.core.validators import Count, Domain, Positive
from sipsms.core.yaml_file import Model


class MessageSettings(Model):
    max_length: Count = 160
    length_unit: Literal["characters", "septets", "bytes"] = "characters"
    copy_prefix: Annotated[str, Field(max_length=40)] = "Me: "


class QueueSettings(Model):
    keep: Positive = 14 * 86400.0
    device_memory: Positive = 30 * 86400.0
    sip_concurrency: Count = 1000
    carrier_concurrency: Count = 32
    retry_min: Positive = 5.0
    retry_max: Positive = 300.0

    @model_validator(mode="after")
    def _in_order(self) -> QueueSettings:
        if self.retry_min > self.retry_max:
            raise ValueError("expected retry_min <= retry_max")
        return self


class PolicySettings(Model):
    """Content policy, and the answers to STOP, START and HELP."""

    keywords: bool = True
    stop_reply: Annotated[str, Field(max_length=160)] = ""  # empty: none (carriers may answer by themselves)
    start_reply: Annotated[str, Field(max_length=160)] = ""
    help_reply: Annotated[str, Field(max_length=160)] = ""
    shorteners: tuple[Domain, ...] | None = None  # None: the usual ones
    # Different numbers that one customer may write to within `window` seconds, with the same text and at all; 0: any.
    same_text: Annotated[int, Field(ge=0)] = 20
    destinations: Annotated[int, Field(ge=0)] = 100
    window: Positive = 3600.0
