"""Are two answers equal? Same labels, same order; floats within the flavor's tolerance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

Json = object


def differences(expected: Json, found: Json, *, tolerance: float, at: str = "answer") -> Iterator[str]:
    """Each place where two JSON values differ, as `where: expected …, found …`.

    A NaN or an infinity equals null: MLflow's server writes words for them that JSON does not have.
    `tolerance` is relative, and absolute below 1.
    """
    expected, found = _null_if_nan(expected), _null_if_nan(found)
    if isinstance(expected, dict) and isinstance(found, dict):
        yield from _dict_differences(expected, found, tolerance, at)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{at}: expected {len(expected)} items, found {len(found)}"
        for position, (a, b) in enumerate(zip(expected, found, strict=False)):
            yield from differences(a, b, tolerance=tolerance, at=f"{at}[{position}]")
    elif not _equal(expected, found, tolerance):
        yield f"{at}: expected {_shown(expected)}, found {_shown(found)}"


def _dict_differences(
    expected: dict[str, Json], found: dict[str, Json], tolerance: float, at: str
) -> Iterator[str]:
    if list(expected) != list(found):
        yield f"{at}: expected the keys {_shown(list(expected))}, found {_shown(list(found))}"
    for key in expected.keys() & found.keys():
        yield from differences(expected[key], found[key], tolerance=tolerance, at=f"{at}.{_shown(key)}")


def _null_if_nan(value: Json) -> Json:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _equal(expected: Json, found: Json, tolerance: float) -> bool:
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, float) or isinstance(found, float):
        return (
            isinstance(expected, int | float)
            and isinstance(found, int | float)
            and math.isclose(expected, found, rel_tol=tolerance, abs_tol=tolerance)
        )
    return type(expected) is type(found) and expected == found


def _shown(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
