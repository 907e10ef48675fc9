"""numpy's arrays of values that a caller sent: as numpy makes them, unless text would take far more room."""

from __future__ import annotations

from typing import Any

import numpy as np

_ROOM_BYTES = 64 << 20
"""What numpy's text may take beyond a small multiple of the text itself."""
_NUMBERS = frozenset({bool, int, float, type(None)})


def array_of(value: Any, dtype: np.dtype[Any] | None = None) -> Any:
    """`numpy.array`, unless text in it would take far more room than it came in.

    Raises:
        ValueError: as `check_room`; or numpy's.
    """
    if dtype is None or dtype.kind in "US":
        check_room(value)
    return np.array(value, dtype=dtype)


def check_room(value: Any) -> None:
    """Refuse values, nested in lists and arrays, that would take far more room as numpy's text.

    Raises:
        ValueError: one text is so much longer than the others, each of which would take its room.
    """
    widest, total, leaves, waiting = 0, 0, 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, np.ndarray)):
            if _NUMBERS.issuperset(map(type, item)):
                leaves += len(item)
            else:
                waiting.extend(item)
            continue
        leaves += 1
        if isinstance(item, (str, bytes)):
            # numpy's text has four bytes for each character.
            size = len(item) * (4 if isinstance(item, str) else 1)
            widest, total = max(widest, size), total + size
    if widest * leaves > _ROOM_BYTES + 4 * total:
        raise ValueError("one text is far longer than the others")
