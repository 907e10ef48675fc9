"""Compressed bodies (`Content-Encoding`), never larger than the limit when they are unpacked.

Source: RFC 9110, section 8.4; RFC 1950 and 1952.
"""

from __future__ import annotations

import gzip
import zlib

from runbake_serving.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia

CODINGS = ("gzip", "deflate")
_MOST_CHARACTERS = 1000
_LEVEL = 1
"""An answer is to be small, but above all soon."""


def coding_of(header: str) -> str:
    """The coding that a `Content-Encoding` names; empty for none.

    Raises:
        UnsupportedMedia: it is not gzip or deflate, or there are several.
    """
    name = header.strip().lower()
    if name in ("", "identity"):
        return ""
    name = name.removeprefix("x-")
    if name not in CODINGS:
        raise UnsupportedMedia(f"the Content-Encoding may be one of {', '.join(CODINGS)}")
    return name


def unpacked(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """The body without its coding.

    Raises:
        BodyTooLarge: it would have more than `limit_bytes`.
        InvalidRequest: it is not in that coding, or is cut off.
    """
    unpacker = zlib.decompressobj(_window(body, coding))
    try:
        plain = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {coding}") from error
    if len(plain) > limit_bytes:
        raise BodyTooLarge(f"the body may have {limit_bytes} bytes at most, unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidRequest(f"the {coding} body is cut off, or something follows it")
    return plain


def _window(body: bytes, coding: str) -> int:
    if coding == "gzip":
        return 16 + zlib.MAX_WBITS
    # "deflate" is zlib's format; some clients send it bare.
    wrapped = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


def accepted_coding(header: str) -> str:
    """The coding that an `Accept-Encoding` asks for; empty for none."""
    for item in header[:_MOST_CHARACTERS].lower().split(","):
        name, _, weight = item.partition(";")
        if name.strip() in CODINGS and weight.replace(" ", "").rstrip("0.") != "q=":
            return name.strip()
    return ""


def packed(body: bytes, coding: str) -> bytes:
    """The body in that coding; the same bytes always give the same bytes."""
    return gzip.compress(body, _LEVEL, mtime=0) if coding == "gzip" else zlib.compress(body, _LEVEL)
