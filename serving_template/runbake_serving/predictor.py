"""Where questions meet the model: predictions run in a few threads, so that the event loop stays free.

The one place to change for joining requests: `Predictor.predict` takes one question and gives one answer, and
nothing around it knows how many others went to the model with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runbake_serving.errors import ModelFailed, RequestError, ValuesRefused
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.model import Model, Question

T = TypeVar("T")


class Predictor:
    """Asks one model, at most `threads` questions at a time; others wait in order."""

    def __init__(self, model: Model, *, threads: int) -> None:
        self.model = model
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="predict")

    async def predict(self, question: Question, request_id: str) -> Any:
        """The model's answer to this question.

        Raises:
            SchemaMismatch: the data do not fit the signature.
            ValuesRefused: the model does not take these values.
            ModelFailed: the model raised; the cause is logged under `request_id`.
        """
        return await self.aside(lambda: self.model.predict(question.data, question.params), request_id)

    async def aside(self, work: Callable[[], T], request_id: str) -> T:
        """What `work` returns, done in one of the threads; raises as `predict` does."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Models raise anything at all: the exception is looked at, not caught by a class.
        await asyncio.wait((future,))
        error = future.exception()
        if error is None:
            return future.result()
        raise answerable(error, self.model, request_id) from error

    def close(self) -> None:
        """Take no more questions; what runs goes on to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def answerable(error: BaseException, model: Model, request_id: str) -> RequestError:
    """What the caller is told of an exception that came out of a prediction; the rest is logged."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, model.rules.refusals):
        LOGGER.warning("values refused", extra={"fields": {"request": request_id, **cause_of(error)}})
        return ValuesRefused("the model refuses these values (missing, of another kind, or out of range)")
    LOGGER.error("model failed", extra={"fields": {"request": request_id, **cause_of(error)}})
    return ModelFailed("the model failed; the log tells the cause under this request id")
