"""The keywords STOP, START and HELP, and texts that only look like them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.messaging.opt_out_keywords import MAX_LENGTH, Keyword, classify

STOP = ["STOP", "stop", "Stop.", " stop \n", "STOP!!!", '"STOP"', "«stop»", "“Stop”", "🛑 STOP 🛑", "STOP❤️", "(stop)",
        "STOPALL", "stop all", "UNSUBSCRIBE", "Cancel", "END", "quit", "REVOKE", "OPTOUT", "opt out", "Opt-Out",
        "ARRET", "arrêt", "Arrêt.", "ARRE\u0302T", "Stop. Thank you", "stop please", "please stop", "Please, STOP!",
        "STOP pls", "stop now", "Stop now please, thanks", "stop, merci", "stop svp", "stop s'il vous plaît",
        "ST\u200bOP", "\ufeffSTOP", "\u202eSTOP", "S\u00adTOP", "ＳＴＯＰ", "stop\r\n", "STOP\u00a0", "*STOP*",
        "stop texting me", "please stop messaging me"]  # fmt: skip
START = ["START", "start", "Unstop", "start please", "OPTIN", "Start!"]
HELP = ["HELP", "Help!", "info", "aide", "help please", "INFO?"]
NONE = ["", " ", "...", "please stop by the shop", "stop at 5", "I can't stop", "don't stop", "Stop it", "stop sign",
        "non-stop", "nonstop", "full stop", "the end", "end of the line", "cancel my order",
        "cancel the meeting please",
        "quit smoking", "stop2", "2 stop", "s t o p", "STOPP", "yes", "YES", "no", "thank you", "please", "thanks",
        "stop stop", "help me move", "start at 6", "info desk", "bus stop please", "stop texting him", "stop\x00x",
        "Can you help?", "please please stop", "stop " + "please " * 20, "СТОП", "сtop"]  # fmt: skip


@pytest.mark.req("S-131", "G12")
@pytest.mark.parametrize("text", STOP)
def test_a_stop_text_is_classified_as_stop(text: str) -> None:
    assert classify(text) is Keyword.STOP


@pytest.mark.req("G12")
@pytest.mark.parametrize(("texts", "keyword"), [(START, Keyword.START), (HELP, Keyword.HELP)])
def test_start_and_help_texts_are_classified_as_such(texts: list[str], keyword: Keyword) -> None:
    assert [classify(text) for text in texts] == [keyword] * len(texts)


@pytest.mark.req("G12")
@pytest.mark.parametrize("text", NONE)
def test_other_texts_are_no_keyword(text: str) -> None:
    assert classify(text) is None


@pytest.mark.req("G12")
def test_a_text_longer_than_the_limit_is_not_examined() -> None:
    assert classify("stop".ljust(MAX_LENGTH)) is Keyword.STOP
    assert classify("stop".ljust(MAX_LENGTH + 1)) is None
    looked: list[str] = []

    class Letter(str):
        def __getattribute__(self, name: str) -> object:
            looked.append(name)
            return super().__getattribute__(name)

    assert classify(Letter("stop".ljust(MAX_LENGTH + 1))) is None
    assert looked == [], "its length is enough"
    assert classify(Letter("stop")) is Keyword.STOP
    assert looked


@given(st.text(max_size=100))
def test_any_text_gives_a_keyword_or_none(text: str) -> None:
    assert classify(text) in (None, *Keyword)


@given(st.text(st.characters(categories=["P", "S", "Z"]), max_size=20), st.sampled_from(["Stop", "START", "info"]))
def test_punctuation_around_a_keyword_is_ignored(signs: str, word: str) -> None:
    if not any(c.isalnum() for c in classify_signs(signs)):
        assert classify(signs + word + signs) is classify(word)


def classify_signs(signs: str) -> str:
    """Some signs are letters in disguise: the trade mark's sign is TM."""
    import unicodedata

    return unicodedata.normalize("NFKD", signs)
