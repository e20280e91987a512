"""Settings of SMPP; app/test_settings has the reading of the file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sipsms.smpp.session import Limits
from sipsms.smpp.settings import SmppConfig, SmppSettings


def carrier(**options: Any) -> SmppConfig:
    return SmppConfig.model_validate({"type": "smpp", "url": "smpp://user:pass@smsc.example.net", **options})


def test_the_settings_give_the_limits_of_a_session() -> None:
    assert SmppSettings(window=7, enquire_link=20).limits == Limits(7, 10.0, 20.0, 30.0)


def test_configured_charsets_extend_the_usual_ones() -> None:
    usual = {0: "gsm", 1: "ia5", 3: "latin1", 8: "ucs2"}
    assert SmppSettings().charsets == carrier().charsets == usual
    assert carrier(charsets={0: "latin1"}).charsets == {**usual, 0: "latin1"}


def test_user_and_password_beside_the_url_take_precedence() -> None:
    assert carrier().credentials == ("user", "pass")
    assert carrier(username="other", password="secret").credentials == ("other", "secret")


@pytest.mark.parametrize(
    "options",
    [{"long_texts": "mms"}, {"charsets": {0: "utf8"}}, {"long": "payload", "text_unit": "segments"}],
)
def test_settings_that_exclude_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        carrier(**options)
