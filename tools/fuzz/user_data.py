"""User data headers and the texts that are joined from segments, in every data_coding."""

from __future__ import annotations

from sipsms.core.segmentation import join_parts
from sipsms.smpp.data_coding import (
    CHARSETS,
    CodingError,
    charset_of,
    concat_header,
    decode,
    decode_segment,
    read_user_data,
    segments_of,
)


def seeds() -> list[bytes]:
    """The first octet is the data_coding; the others are segments, each behind its length."""
    found = []
    for coding, octets in ((0, b"Hello \x1be"), (3, b"caf\xe9"), (8, "hé😀".encode("utf-16-be"))):
        segments = [concat_header(7, 2, number) + octets for number in (1, 2)]
        found.append(bytes([coding]) + b"".join(bytes([len(one)]) + one for one in segments))
    return [*found, bytes([0, 9]) + b"\x08\x08\x04\x01\x02\x02\x01\x70\x00hi"]


def check(data: bytes) -> None:
    coding, rest = (data[0], data[1:]) if data else (0, b"")
    charset, parts, total = charset_of(coding, CHARSETS), {}, 1
    while rest:
        segment, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        try:
            found = read_user_data(segment)
            text = decode_segment(found.octets, charset) if charset is not None else found.octets.decode("latin-1")
        except CodingError:
            continue
        assert len(found.octets) <= len(segment)
        if found.concat is not None:
            assert 1 <= found.concat.number <= found.concat.total <= 255
            parts[found.concat.number], total = text, max(total, found.concat.total)
    joined = join_parts(parts, total)
    assert len(joined) <= sum(map(len, parts.values())) + 40 * (len(parts) + 1)
    _check_encoder(joined)


def _check_encoder(text: str) -> None:
    """Check that the segments of a text, read again, are the text."""
    if not text or any("\ud800" <= letter <= "\udfff" for letter in text):
        return
    pieces = segments_of(text, 1)
    read = []
    for number, one in enumerate(pieces, 1):
        octets = one.octets
        if len(pieces) > 1:
            user = read_user_data(octets)
            assert user.concat is not None
            assert (user.concat.number, user.concat.total & 0xFF) == (number & 0xFF, len(pieces) & 0xFF)
            octets = user.octets
        charset = charset_of(one.data_coding, CHARSETS)
        assert charset is not None
        read.append((decode_segment if len(pieces) > 1 else decode)(octets, charset))
    joined = join_parts(dict(enumerate(read, 1)), len(pieces))
    assert joined == text
