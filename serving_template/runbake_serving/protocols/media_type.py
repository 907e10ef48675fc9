"""Content types as RFC 9110 has them: names and parameter names in any case, values maybe quoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

from runbake_serving.errors import UnsupportedMedia


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """`type/subtype` and its parameters, all names in lower case."""

    name: str
    parameters: Mapping[str, str]


def media_type_of(header: str | None) -> MediaType:
    """The content type that this header names.

    Raises:
        UnsupportedMedia: there is no header, or it is not a content type.
    """
    if not header or not header.strip():
        raise UnsupportedMedia("the request has no Content-Type")
    if "*" in header:
        # RFC 2231's continued and encoded values come as tuples, and none of ours needs them.
        raise UnsupportedMedia("the Content-Type has extended parameters")
    message = Message()
    message["content-type"] = header.replace("\n", " ").replace("\r", " ")
    parameters = message.get_params(failobj=[])
    name = parameters[0][0].strip().lower() if parameters else ""
    if name.count("/") != 1:
        raise UnsupportedMedia("the Content-Type is not of the form type/subtype")
    return MediaType(
        name=name,
        parameters={key.lower(): value.strip('"').lower() for key, value in parameters[1:]},
    )
