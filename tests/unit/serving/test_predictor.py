"""Requests that wait are asked together, and each has the answer that it would have had alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from runbake_serving.errors import DeadlinePassed, InvalidRequest, ModelFailed, RequestError, ValuesRefused
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.flavors.sklearn import rules_of
from runbake_serving.model.model import Checked, Model
from runbake_serving.model.signature import Column, Columns, Scalar, Signature
from runbake_serving.prediction.predictor import Limits, Predictor
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of

JSON = MediaType(name="application/json", parameters={})


class Recorder:
    """A model that doubles its rows, refuses 13, fails at 99, and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.threads: set[str] = set()

    def __call__(self, data: Any, params: Mapping[str, Any]) -> Any:
        self.calls.append(np.ravel(data).tolist())
        self.threads.add(threading.current_thread().name)
        if 13 in data:
            raise ValueError("secret")
        if 99 in data:
            raise KeyError("secret")
        return np.asarray(data)[:, 0] * 2


def model_of(predict: Any, *, joins: bool = True, signature: Signature | None = None) -> Model:
    """A model with this prediction."""
    rules = Rules(rows_may_be_joined=joins, refusals=(ValueError,))
    return Model(
        signature=signature or Signature(), loaded=Loaded(predict=predict, rules=rules), mlflow_version="3"
    )


def rows(*values: float, params: Mapping[str, Any] | None = None) -> Checked:
    """One column of numbers."""
    return Checked(np.array([[value] for value in values], dtype=float), params or {})


def answers(
    model: Model, asked: Sequence[Checked], *, limits: Limits | None = None, threads: int = 1
) -> list[Any]:
    """What each is answered, or the exception, all asked at the same time."""

    async def ask() -> list[Any]:
        predictor = Predictor(model, threads=threads, limits=limits)
        try:
            waiting = [predictor.ask(one, str(number)) for number, one in enumerate(asked)]
            return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
        finally:
            predictor.close()

    return asyncio.run(ask())


def told(answer: Any) -> Any:
    """An answer as something to compare."""
    return type(answer) if isinstance(answer, Exception) else answer.tolist()


def test_what_comes_together_is_asked_together() -> None:
    """Five questions of one turn of the loop are one call; each has its own rows' answers."""
    model = Recorder()
    asked = [rows(1), rows(2, 3), rows(4), rows(5), rows(6)]
    assert [told(answer) for answer in answers(model_of(model), asked)] == [[2], [4, 6], [8], [10], [12]]
    assert model.calls == [[1, 2, 3, 4, 5, 6]]


def test_a_bad_row_fails_its_own_request_only() -> None:
    """Refused values and a failing model answer their own requests; the others have their answers."""
    model = Recorder()
    found = answers(model_of(model), [rows(1), rows(13), rows(2), rows(99, 3), rows(4)])
    assert [told(answer) for answer in found] == [[2], ValuesRefused, [4], ModelFailed, [8]]
    assert "secret" not in "".join(map(str, found))


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ([rows(1), rows(2, params={"a": 1}), rows(3)], [[1, 3], [2]]),
        ([rows(1), Checked(np.array([[2]], dtype=np.int64), {}), rows(3)], [[1, 3], [2]]),
        ([rows(1), Checked(np.array([[2.0, 2.0]]), {}), rows(3)], [[1, 3], [2, 2]]),
        ([rows(1, params={"a": 1}), rows(2, params={"a": True})], [[1], [2]]),
        ([rows(1), Checked([[2.0]], {})], [[1], [2]]),
        ([rows(*range(5)), rows(*range(6)), rows(7)], [[*range(5)], [*range(6), 7]]),
        ([rows(*range(50)), rows(1)], [[*range(50)], [1]]),
    ],
    ids=["params", "dtype", "columns", "bool", "list", "too many", "large"],
)
def test_what_is_not_joined(asked: Sequence[Checked], calls: list[list[float]]) -> None:
    """Other params, types or shapes are asked apart, and no call exceeds the limit unless one alone does."""
    model = Recorder()
    answers(model_of(model), asked, limits=Limits(join_rows=10))
    assert sorted(model.calls) == sorted(calls)


def test_models_whose_rows_must_not_be_joined() -> None:
    """The flavor's rule, or RUNBAKE_JOIN_ROWS=1, leaves every request alone."""
    for model, limits in ((Recorder(), Limits()), (Recorder(), Limits(join_rows=1))):
        answers(model_of(model, joins=limits.join_rows == 1), [rows(1), rows(2)], limits=limits)
        assert model.calls == [[1], [2]]


@pytest.mark.parametrize(
    "whole",
    [lambda data: [1.0] * len(data), lambda data: np.array(len(data)), lambda data: np.ones((1, len(data)))],
    ids=["list", "scalar", "one row"],
)
def test_an_answer_without_a_row_for_each_row(whole: Any) -> None:
    """A model whose answer cannot be divided is asked again for each alone, and never joined afterwards."""
    calls = []

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        calls.append(len(data))
        return whole(data)

    async def ask() -> None:
        predictor = Predictor(model_of(predict), threads=1)
        for _ in range(2):
            found = await asyncio.gather(*(predictor.ask(rows(1, 2), "1") for _ in range(2)))
            assert [np.shape(answer) for answer in found] == [np.shape(whole([1, 2]))] * 2
        predictor.close()

    asyncio.run(ask())
    assert calls == [4, 2, 2, 2, 2]


def test_what_comes_meanwhile_is_the_next_call() -> None:
    """What arrives while a prediction runs in a thread waits for it, and is then asked in one call."""
    entered, go, calls = threading.Event(), threading.Event(), []

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        calls.append(len(data))
        entered.set()
        assert go.wait(30)
        return np.zeros(len(data))

    async def ask() -> None:
        predictor = Predictor(model_of(predict), threads=1)
        first = asyncio.create_task(predictor.ask(rows(0), "1"))
        await asyncio.to_thread(entered.wait, 30)
        others = [asyncio.create_task(predictor.ask(rows(0), "1")) for _ in range(7)]
        await asyncio.sleep(0)
        assert (predictor.depth.requests, predictor.depth.rows) == (7, 7)
        go.set()
        await asyncio.gather(first, *others)
        assert (predictor.depth.requests, predictor.depth.rows) == (0, 0)
        predictor.close()

    asyncio.run(ask())
    assert calls == [1, 7]


def test_a_deadline_passes() -> None:
    """Running and waiting questions are answered in time; what had not begun never does."""
    go, calls = threading.Event(), []

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        calls.append(len(data))
        go.wait(30)
        return np.zeros(len(data))

    async def ask() -> list[Any]:
        predictor = Predictor(model_of(predict, joins=False), threads=1, limits=Limits(deadline_s=0.2))
        found = await asyncio.wait_for(
            asyncio.gather(*(predictor.ask(rows(0), "1") for _ in range(3)), return_exceptions=True), 10
        )
        go.set()
        after = await predictor.ask(rows(0, 0), "1")
        predictor.close()
        return [*found, after]

    *late, after = asyncio.run(ask())
    assert [type(answer) for answer in late] == [DeadlinePassed] * 3
    assert (len(after), calls) == (2, [1, 2])


def test_who_has_left_is_not_asked_for() -> None:
    """A question whose caller is gone before its turn never reaches the model."""
    model = Recorder()

    async def ask() -> list[Any]:
        predictor = Predictor(model_of(model), threads=1)
        callers: list[dict[str, Any]] = [{}, {"gone": True}, {}]
        waiting = [predictor.ask(rows(n), "1", caller=caller) for n, caller in enumerate(callers)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert predictor.depth.requests == 0
        predictor.close()
        return found

    assert [told(answer) for answer in asyncio.run(ask())] == [[0], InvalidRequest, [4]]
    assert model.calls == [[0, 2]]


def test_a_closed_predictor_begins_nothing() -> None:
    """A question that came just before stays unasked, without a word: SIGTERM may come while one warms up."""
    model, complaints = Recorder(), list[Any]()

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        predictor = Predictor(model_of(model), threads=1)
        asked = asyncio.ensure_future(predictor.ask(rows(1), "1"))
        await asyncio.sleep(0)
        predictor.close()
        for _ in range(5):
            await asyncio.sleep(0)
        asked.cancel()

    asyncio.run(ask())
    assert (model.calls, complaints) == ([], [])


def test_short_predictions_stay_on_the_event_loop() -> None:
    """Where the rule knows the model, short calls are made on the loop; a model that may wait never is."""

    async def ask(model: Model) -> None:
        predictor = Predictor(model, threads=1)
        for _ in range(5):
            await predictor.ask(rows(1), "1")
        predictor.close()

    known, unknown = Recorder(), Recorder()
    asyncio.run(ask(model_of(known)))
    asyncio.run(ask(model_of(unknown, joins=False)))
    assert "MainThread" in known.threads
    assert all(name.startswith("predict") for name in unknown.threads)


def test_observers_are_told_of_calls() -> None:
    """Each call tells its requests, rows and time."""
    seen = []

    async def ask() -> None:
        predictor = Predictor(model_of(Recorder()), threads=1)

        def observe(requests: int, count: int, seconds: float) -> None:
            seen.append((requests, count, seconds > 0))

        predictor.observers.append(observe)
        await asyncio.gather(predictor.ask(rows(1, 2), "1"), predictor.ask(rows(3), "2"))
        predictor.close()

    asyncio.run(ask())
    assert seen == [(2, 3, True)]


# --- joined equals alone -------------------------------------------------------------------------------

_RNG = np.random.default_rng(7)
_NUMBERS = pd.DataFrame({"a": _RNG.normal(size=60), "b": _RNG.normal(size=60)})
_TARGET = (_NUMBERS["a"] + _NUMBERS["b"] > 0).astype(int)
_MIXED = _NUMBERS.assign(city=_RNG.choice(["Oslo", "Rome", "Bergen"], 60), n=_RNG.integers(0, 5, 60))
_COLUMNS = {"a": Scalar.DOUBLE, "b": Scalar.DOUBLE, "city": Scalar.STRING, "n": Scalar.LONG}


def fitted(*names: str, probabilities: bool) -> Model:
    """A fitted pipeline over these columns, with its signature."""
    numbers = [name for name in names if name != "city"]
    texts = OneHotEncoder(handle_unknown="ignore")
    first = (
        make_column_transformer((StandardScaler(), numbers), (texts, ["city"]))
        if "city" in names
        else StandardScaler()
    )
    # Fitted on an array, it does not warn of one either.
    rows = _MIXED[list(names)] if "city" in names else _MIXED[list(names)].to_numpy()
    estimator = make_pipeline(first, LogisticRegression()).fit(rows, _TARGET)
    signature = Signature(
        inputs=Columns(columns=tuple(Column(name=name, type=_COLUMNS[name], required=True) for name in names))
    )
    method = estimator.predict_proba if probabilities else estimator.predict
    return Model(
        signature=signature,
        loaded=Loaded(predict=lambda data, _: method(data), rules=rules_of(estimator, signature)),
        mlflow_version="3",
    )


MODELS = {
    "array": fitted("a", "b", probabilities=True),
    "frame": fitted("a", "b", "city", "n", probabilities=True),
    "labels": fitted("a", "city", probabilities=False),
}
finite = st.floats(-1e6, 1e6)
a_row = st.fixed_dictionaries(
    {
        "a": finite | st.none() | st.integers(-5, 5),
        "b": finite,
        "city": st.sampled_from(["Oslo", "Rome", "nowhere"]),
        "n": st.integers(-9, 9),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(st.tuples(st.lists(a_row, min_size=1, max_size=4), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 6),
)
def test_joined_is_alone(name: str, requests: list[tuple[list[Any], int]], most: int) -> None:
    """Requests in any order and at any distance are answered as each alone: same errors and numbers."""
    import orjson

    model = MODELS[name]

    def checked(records: Any) -> Checked:
        return model.checked(question_of(orjson.dumps({"dataframe_records": records}), JSON, model))

    async def one(predictor: Predictor, records: Any, later: int) -> Any:
        for _ in range(later):
            await asyncio.sleep(0)
        try:
            return await predictor.ask(checked(records), "1")
        except RequestError as error:
            return error

    async def together() -> list[Any]:
        predictor = Predictor(model, threads=1, limits=Limits(join_rows=most))
        found = await asyncio.gather(*(one(predictor, records, later) for records, later in requests))
        predictor.close()
        return found

    async def alone(records: Any) -> Any:
        predictor = Predictor(model, threads=1, limits=Limits(join_rows=1))
        found = await one(predictor, records, 0)
        predictor.close()
        return found

    for joined_answer, (records, _) in zip(asyncio.run(together()), requests, strict=True):
        alone_answer = asyncio.run(alone(records))
        assert not isinstance(alone_answer, ModelFailed)
        if isinstance(alone_answer, Exception):
            assert (type(joined_answer), str(joined_answer)) == (type(alone_answer), str(alone_answer))
            continue
        assert (joined_answer.dtype, joined_answer.shape) == (alone_answer.dtype, alone_answer.shape)
        np.testing.assert_allclose(joined_answer, alone_answer, rtol=model.rules.tolerance, atol=1e-12)
