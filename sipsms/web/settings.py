"""Settings of callbacks and webhooks: section `callbacks` of sipsms.yaml."""

from __future__ import annotations

from sipsms.core.validators import Positive
from sipsms.core.yaml_file import Model


class CallbackSettings(Model):
    allow_private: bool = False
    timeout: Positive = 15.0
    retry_every: Positive = 1800.0
    give_up_after: Positive = 3 * 86400.0
