"""Images and sound in messages: which may go on to an engine, and what is too much for one.

A picture's size in pixels is read from its first bytes: a few kilobytes may unpack to gigabytes. So
only kinds of pictures whose size can be told go on. Pictures at https addresses are for `pictures`
to fetch, or not.
"""

from __future__ import annotations

import base64
import binascii
import struct

from undercroft.serve.wire.bodies import Part
from undercroft.serve.wire.failures import invalid

MAX_BYTES = 20_000_000  # of one part; what a whole body may have is the setting serve.max_body_mb
MAX_PIXELS = 50_000_000
MAX_SEGMENTS = 1_000  # of a JPEG before its size
AUDIO_FORMATS = ("wav", "mp3")

_FIRST_BYTES = {b"\x89PNG": "png", b"GIF8": "gif", b"\xff\xd8": "jpeg", b"RIFF": "webp"}

KINDS = {"image_url": "image", "input_audio": "audio"}
"""Types of parts that engines may take, and the word that a model's meta uses for them."""


def check(part: Part, where: str) -> None:
    """Raise `HttpError` 400 for a part that no engine should be given."""
    if part.type == "image_url":
        if part.image_url is None:
            raise invalid(where, "A part of type image_url has an image_url with a url.")
        _check_image(part.image_url.url, where)
    elif part.input_audio is None:
        raise invalid(where, "A part of type input_audio has an input_audio with data and format.")
    elif part.input_audio.format not in AUDIO_FORMATS:
        raise invalid(where, f"Sound comes as {' or '.join(AUDIO_FORMATS)}.")
    else:
        _decoded(part.input_audio.data, where)


def _check_image(url: str, where: str) -> None:
    if url.startswith("https://"):
        return
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise invalid(where, "An image is in a data:image/…;base64 URL.")
    check_picture(_decoded(data, where), where)


def check_picture(image: bytes, where: str) -> str:
    """The kind of ``image``: png, jpeg, gif or webp. Raises `HttpError` 400 for others, and for
    one that is too large."""
    size = pixels(image)
    if not size:
        raise invalid(where, "An image is a PNG, JPEG, GIF or WebP that says how large it is.")
    if size > MAX_PIXELS:
        raise invalid(where, f"An image of {size:,} pixels is larger than {MAX_PIXELS:,}.")
    return next(kind for first, kind in _FIRST_BYTES.items() if image.startswith(first))


def _decoded(data: str, where: str) -> bytes:
    if len(data) * 3 // 4 > MAX_BYTES:
        raise invalid(where, f"It is larger than {MAX_BYTES / 1e6:g} MB.")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(where, "Its data is not base64.") from None


def pixels(image: bytes) -> int:
    """Width times height as a PNG, JPEG, GIF or WebP says; 0 where it cannot be told."""
    width = height = 0
    if image.startswith(b"\x89PNG\r\n\x1a\n") and image[12:16] == b"IHDR" and len(image) >= 24:
        width, height = struct.unpack(">II", image[16:24])
    elif image.startswith(b"GIF8") and len(image) >= 10:
        width, height = struct.unpack("<HH", image[6:10])
    elif image.startswith(b"\xff\xd8"):
        width, height = _jpeg_size(image)
    elif image.startswith(b"RIFF") and image[8:12] == b"WEBP" and len(image) >= 30:
        width, height = _webp_size(image)
    return int(width * height)


def _jpeg_size(image: bytes) -> tuple[int, int]:
    """From the frame header, the segment SOF0 to SOF15 without DHT, JPG and DAC (ITU T.81, B.2)."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        if at + 9 > len(image) or image[at] != 0xFF:
            break
        marker = image[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", image[at + 5 : at + 9])
            return width, height
        at += 2 + int(struct.unpack(">H", image[at + 2 : at + 4])[0])
    return 0, 0


def _webp_size(image: bytes) -> tuple[int, int]:
    """From the first chunk: lossy (RFC 6386, 9.1), lossless or extended (RFC 9649, 3.4 and 2.7)."""
    kind = image[12:16]
    if kind == b"VP8 " and image[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", image[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and image[20] == 0x2F:
        bits = int.from_bytes(image[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(image[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    return 0, 0
