"""Types of files that an MMS may carry (S-021 to S-024), and safe file names. Pure.

A type is recognised by a file's first bytes. The sender's name and type are never trusted: an HTML page called
picture.jpg is refused and not served.
"""

from __future__ import annotations

import re
from typing import Final

MAX_FILES: Final = 3
MAX_TEXT: Final = 2048  # characters of a text sent with files
MAX_FILE: Final = 1300 * 1024  # bytes; "1300 KB" as file managers count

EXTENSIONS: Final = {
    "image/jpeg": "jpg", "image/gif": "gif", "image/png": "png", "audio/mpeg": "mp3", "audio/wav": "wav",
    "audio/midi": "mid", "video/mp4": "mp4", "video/3gpp": "3gp",
}  # fmt: skip

_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"ID3", "audio/mpeg"),
    (b"MThd", "audio/midi"),
)
_MP4_BRANDS: Final = re.compile(rb"iso[m2-9]|mp4[12]|avc1|M4V[ HP]|MSNV|dash|mmp4|f4v ")  # without QuickTime, HEIC, M4A
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def type_of(data: bytes) -> str:
    """Return the content type by the first bytes, one of `EXTENSIONS`; empty if unknown."""
    found = next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")
    return found or next((kind for reads in (_wave, _container, _mp3_frame) if (kind := reads(data))), "")


def _wave(data: bytes) -> str:
    return "audio/wav" if data[:4] == b"RIFF" and data[8:12] == b"WAVE" else ""


def _container(data: bytes) -> str:
    """Return the type of an ISO 14496-12 file by its box `ftyp` (3GPP: TS 26.244)."""
    if data[4:8] != b"ftyp":
        return ""
    brand = data[8:12]
    if brand.startswith((b"3gp", b"3g2")):
        return "video/3gpp"
    return "video/mp4" if _MP4_BRANDS.fullmatch(brand) else ""


def _mp3_frame(data: bytes) -> str:
    """Return the type of an MP3 file without ID3: a frame of layer III with a bit rate and a sample rate."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return ""
    version, layer, rate, samples = data[1] >> 3 & 3, data[1] >> 1 & 3, data[2] >> 4, data[2] >> 2 & 3
    return "audio/mpeg" if version != 1 and layer == 1 and 0 < rate < 15 and samples != 3 else ""


def safe_name(name: str, content_type: str) -> str:
    """Return a safe name: at most 64 letters, digits, `_` and `-`, with the type's extension after a dot."""
    last = re.split(r"[/\\]", name[-256:])[-1]
    stem = last.rpartition(".")[0] or last
    stem = _UNSAFE.sub("_", stem).replace(".", "_").strip("_-")[:56] or "file"
    return f"{stem}.{EXTENSIONS.get(content_type, 'bin')}"
