"""One worker: warm the model up, answer on the sockets, drain when told."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from fastapi import FastAPI

from runbake_serving.access_log import ACCESS_LOG
from runbake_serving.app import cut_off
from runbake_serving.connection import Patience
from runbake_serving.encoding import answer_of
from runbake_serving.errors import DeadlinePassed, ModelFailed, RequestError
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.model import Model
from runbake_serving.predictor import Predictor
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of
from runbake_serving.refusals import raw_refusal
from runbake_serving.server import Server
from runbake_serving.settings import Settings
from runbake_serving.supervisor import NOT_READY, OVERRAN

_JSON = MediaType(name="application/json", parameters={})
_SWITCH_S = 0.0005
"""Python lets a thread run for 5 ms while the event loop waits, as long as many requests together take."""


def serve(
    app: FastAPI, model: Model, settings: Settings, sockets: Sequence[socket.socket], lifeline: int
) -> int:
    """Answer until SIGTERM, or until the other end of the pipe `lifeline` closes.

    0 after a clean end, `OVERRAN` where requests were cut off, `NOT_READY` where the model fails at its own
    example.
    """
    told_to_end = _Flag()
    signal.signal(signal.SIGTERM, told_to_end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us too: the supervisor decides
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.setswitchinterval(_SWITCH_S)
    ACCESS_LOG.begin()
    try:
        status = asyncio.run(_serve(app, model, settings, sockets, lifeline, told_to_end))
    finally:
        ACCESS_LOG.flush()
    return OVERRAN if status == 0 and cut_off(app) else status


class _Flag:
    """A signal handler that remembers, also before there is an event loop to tell."""

    def __init__(self) -> None:
        self._raised, self._then = False, _nothing

    def __call__(self, _: int, __: FrameType | None) -> None:
        """The signal came."""
        self._raised = True
        self._then()

    def then(self, do: Callable[[], None]) -> None:
        """Call this when the signal comes, or now if it came."""
        self._then = do
        if self._raised:
            do()


def _nothing() -> None:
    return None


async def _serve(
    app: FastAPI,
    model: Model,
    settings: Settings,
    sockets: Sequence[socket.socket],
    lifeline: int,
    told_to_end: _Flag,
) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def orphaned() -> None:
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, orphaned)

    def told() -> None:
        loop.call_soon_threadsafe(stop.set)

    told_to_end.then(told)
    async with app.router.lifespan_context(app):
        ready = asyncio.create_task(warm_up(model, app.state.service.predictor))
        stopped = asyncio.create_task(stop.wait())
        # A prediction that does not end must not hold us when we are told to.
        await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        if not ready.result():
            return NOT_READY
        complete = await Server(app, sockets, patience_of(settings), raw_refusal).serve_until(stop)
        return 0 if complete else OVERRAN


def patience_of(settings: Settings) -> Patience:
    """What the settings say of callers and requests that take long."""
    return Patience(
        slow_s=settings.body_timeout_s,
        idle_s=settings.keep_alive_s,
        grace_s=settings.grace_s,
        connections=settings.connections,
    )


async def warm_up(model: Model, predictor: Predictor) -> bool:
    """Ask the model its own example; False where it fails at it.

    No caller pays for what the first prediction imports, and the predictor knows its pace. A model that
    refuses the example as the caller's fault has answered it.
    """
    if not model.example:
        return True
    try:
        question = question_of(model.example, _JSON, model)
        # Twice: what the first one takes says little of the others.
        for _ in range(2):
            answer_of(await predictor.predict(question, "warm-up"))
    except (ModelFailed, DeadlinePassed) as error:
        LOGGER.error("the model fails at its own example: not ready", extra={"fields": cause_of(error)})
        return False
    except RequestError as error:
        LOGGER.warning("the model refuses its own example", extra={"fields": cause_of(error)})
    return True
