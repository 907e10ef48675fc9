"""Answers are valid JSON in MLflow's shapes, whatever the model returns."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from runbake_serving.errors import InvalidRequest, ModelFailed
from runbake_serving.protocols.encoding import answer_of, error_of


def refuse(constant: str) -> None:
    """Python reads NaN, which no other parser does."""
    raise AssertionError(f"{constant} is not JSON")


def answered(predictions: Any) -> Any:
    """What a strict parser reads of an answer."""
    return json.loads(answer_of(predictions), parse_constant=refuse)["predictions"]


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (np.array([1, 2]), [1, 2]),
        (np.array([1.5, np.nan, np.inf, -np.inf]), [1.5, None, None, None]),
        (np.array([[1.0], [2.0]]).T, [[1.0, 2.0]]),
        (np.array([0.1], dtype="float32"), [0.10000000149011612]),
        (np.array(["a", "ü"]), ["a", "ü"]),
        (np.array(["a", None, 1.5], dtype=object), ["a", None, 1.5]),
        (np.array([True]), [True]),
        (np.float32(0.1), 0.10000000149011612),
        ([np.array([1.0]), np.array([np.nan])], [[1.0], [None]]),
        ({"a": np.int8(3)}, {"a": 3}),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (pd.Series([1.0, 2.0]), [{"0": 1.0}, {"0": 2.0}]),
        (pd.Series([1], name="y"), [{"y": 1}]),
        (
            pd.DataFrame({"t": [pd.Timestamp("2026-01-02"), pd.NaT]}),
            [{"t": "2026-01-02T00:00:00"}, {"t": None}],
        ),
        ([datetime.date(2026, 1, 2)], ["2026-01-02"]),
        ([b"hi", pd.NA, (1, 2)], ["aGk=\n", None, [1, 2]]),
        ("text", "text"),
        (None, None),
    ],
)
def test_shapes(predictions: Any, expected: Any) -> None:
    """Arrays, tables, lists and single values have MLflow's shape; what JSON cannot say is null."""
    assert answered(predictions) == expected


@given(
    npst.arrays(
        dtype=npst.floating_dtypes(endianness="=", sizes=(32, 64)) | npst.integer_dtypes(endianness="="),
        shape=npst.array_shapes(max_dims=3),
    )
)
def test_numbers_survive(array: np.ndarray[Any, Any]) -> None:
    """Every number reads back as itself, and every other float as null."""

    def expected(value: Any) -> Any:
        if isinstance(value, list):
            return [expected(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    assert answered(array) == expected(array.tolist())


@pytest.mark.parametrize("predictions", [object(), [1 << 80], {"a": complex(1, 2)}])
def test_what_json_cannot_carry(predictions: Any) -> None:
    """An answer that cannot be written is the model's fault, told without its content."""
    with pytest.raises(ModelFailed, match="cannot be written"):
        answer_of(predictions)


def test_errors() -> None:
    """An error is a problem of RFC 9457 with MLflow's keys, the request's id, and the place where known."""
    error = InvalidRequest('say "no"', column="a", row=0)
    assert json.loads(error_of(error, "7")) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": 'say "no"',
        "error_code": "BAD_REQUEST",
        "message": 'say "no"',
        "request_id": "7",
        "column": "a",
        "row": 0,
    }
    assert "column" not in json.loads(error_of(InvalidRequest("no"), "7"))
