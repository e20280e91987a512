"""Settings of messages and of the sending policy: sections `messages` and `policy` of sipsms.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sipsms.core.validators import Count, Domain, Positive
from sipsms.core.yaml_file import Model


class MessageSettings(Model):
    max_length: Count = 160
    length_unit: Literal["characters", "septets", "bytes"] = "characters"
    copy_prefix: Annotated[str, Field(max_length=40)] = "Me: "


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
