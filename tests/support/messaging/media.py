"""One small file of each type that an MMS may contain, with the first bytes that identify it."""

from __future__ import annotations

SAMPLES = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(40) + b"\xff\xd9",
    "image/gif": b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(20) + b";",
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(30),
    "audio/mpeg": b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(50),
    "audio/wav": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28),
    "audio/midi": b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk" + bytes(8),
    "video/mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + bytes(20),
    "video/3gpp": b"\x00\x00\x00\x14ftyp3gp5\x00\x00\x01\x003gp5" + bytes(20),
}
JPEG = SAMPLES["image/jpeg"]
PNG = SAMPLES["image/png"]
