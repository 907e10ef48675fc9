"""Which of the forms on offer a caller prefers.

No `Accept`, or one that allows everything, gets the first form on offer. One that names only forms which are
not on offer is answered 406, before the model is asked.

Source: RFC 9110, sections 12.4.2 (weights) and 12.5.1 (Accept).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from runbake_serving.errors import NotAcceptable

_ANY = frozenset({"", "*/*", "application/*", "application/json"})
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_MOST_CHARACTERS = 1000


def preferred(header: str, offered: tuple[str, ...]) -> str:
    """The name of the form to answer in; `header` is empty where there is none.

    Raises:
        NotAcceptable: the caller takes none of them.
    """
    if header in _ANY:
        return offered[0]
    chosen = _preferred(header[:_MOST_CHARACTERS].lower(), offered)
    if chosen is None:
        raise NotAcceptable(f"the answer can be written as {', '.join(offered)}")
    return chosen


@lru_cache(maxsize=64)
def _preferred(header: str, offered: tuple[str, ...]) -> str | None:
    ranges = [parsed for item in header.split(",") if (parsed := _range_of(item)) is not None]
    if not ranges:
        return offered[0]  # nothing in it can be read: as if it were not there
    best, best_weight = None, 0.0
    for name in offered:
        if (weight := _weight_of(name, ranges)) > best_weight:
            best, best_weight = name, weight
    return best


def _range_of(item: str) -> tuple[str, float] | None:
    name, *parameters = (part.strip() for part in item.split(";"))
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            if not _WEIGHT.fullmatch(value.strip()):
                return None
            weight = float(value)
    return (name, weight) if name.count("/") == 1 else None


def _weight_of(name: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight that the most specific range gives to this form."""
    for pattern in (name, f"{name.partition('/')[0]}/*", "*/*"):
        if weights := [weight for given, weight in ranges if given == pattern]:
            return max(weights)
    return 0.0
