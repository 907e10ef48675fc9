"""A dataset that a run logged: where it is, and whether it may be read. Pure.

Whoever may log a run names the source, and it would be read with the rights of whoever builds or evaluates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

_WILD = re.compile(r"[*?\[\x00]")


class Unreadable(Exception):
    """Why a source is not followed."""


def followed(dataset: Mapping[str, Any], allowed: Sequence[str], resolved: Callable[[str], str]) -> str:
    """Where a dataset of a label file is: a path without links, or an `s3://` URI, below one of `allowed`.

    Raises:
        Unreadable: it names nothing that may be read; the message says why.
    """
    kind, source = str(dataset.get("sourceType", "")), document_of(dataset.get("source"))
    uri = source.get("uri") or source.get("url")
    if not isinstance(uri, str) or not uri:
        raise Unreadable(f"its source, of the type {kind[:40]!r}, names no file")
    shown = f"{uri[:200]!r}"
    if _WILD.search(uri):
        raise Unreadable(f"{shown} is a pattern")
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        if ".." in uri.split("/") or not any(_is_below(uri, each) for each in allowed):
            raise Unreadable(f"{shown} is below nothing that --data-from allows")
        return uri
    if scheme not in ("", "file"):
        raise Unreadable(f"{shown} cannot be read from {scheme[:40]}://; fetch it, and pass --data")
    path = unquote(urlsplit(uri).path) if scheme else uri
    if not path.startswith("/"):
        raise Unreadable(f"{shown} is relative to a directory of the training")
    # Unquoting may have made one, too.
    if _WILD.search(path):
        raise Unreadable(f"{shown} is a pattern")
    real = resolved(path)
    if not any(_is_below(real, resolved(each)) for each in allowed if "://" not in each):
        raise Unreadable(f"{shown} is below nothing that --data-from allows")
    return real


def _is_below(uri: str, place: str) -> bool:
    return uri == place or uri.startswith(place.rstrip("/") + "/")


def document_of(text: Any) -> dict[str, Any]:
    """The JSON object in a field of a dataset; an empty one where it is something else."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
