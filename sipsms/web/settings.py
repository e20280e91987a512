"""Settings of callbacks and webhooks (section `callbacks` of sipsms.yaml) and of the message centre (`web.centre`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from sipsms.core.validators import Positive, http_url
from sipsms.core.yaml_file import Model


class CallbackSettings(Model):
    allow_private: bool = False
    timeout: Positive = 15.0
    retry_every: Positive = 1800.0
    give_up_after: Positive = 3 * 86400.0


class CentreSettings(Model):
    """The pages for people."""

    enabled: bool = True
    url: Annotated[str, AfterValidator(http_url)] | None = None
    insecure: bool = False
