"""Charsets that bodies may be in."""

from __future__ import annotations

import encodings
from encodings.aliases import aliases

from runbake_serving.errors import InvalidRequest, UnsupportedMedia

# Python's codecs also unpack bz2 and zlib: a kilobyte became a gigabyte. Only these are looked up at all.
CHARSETS = frozenset(
    {
        *("utf_8", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"),
        *("ascii", "latin_1", *(f"iso8859_{part}" for part in (*range(2, 12), *range(13, 17)))),
        *(f"cp{page}" for page in (437, 850, 852, 866, 932, 949, 950, *range(1250, 1259))),
        *("koi8_r", "koi8_u", "gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
    }
)
"""Charsets, as Python names them."""


def decoded(body: bytes, charset: str) -> str:
    """The text of this body, without a byte order mark.

    Raises:
        UnsupportedMedia: the charset is not known.
        InvalidRequest: the body is not in it.
    """
    name = encodings.normalize_encoding(charset).lower()
    if (name := aliases.get(name, name)) not in CHARSETS:
        raise UnsupportedMedia("the charset is not known")
    try:
        return body.decode(name).removeprefix("\ufeff")
    except ValueError as error:
        raise InvalidRequest("the body is not text in its charset") from error
