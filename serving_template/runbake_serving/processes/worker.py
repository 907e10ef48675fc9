"""One worker: warm the model up, answer on the sockets, drain when told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from threading import Thread
from types import FrameType
from typing import NoReturn

from fastapi import FastAPI

from runbake_serving.app import cut_off
from runbake_serving.contract import CRASHED, NOT_READY, OVERRAN
from runbake_serving.errors import DeadlinePassed, ModelFailed, RequestError
from runbake_serving.http.access_log import ACCESS_LOG
from runbake_serving.http.connection import Patience
from runbake_serving.http.refusals import raw_refusal
from runbake_serving.http.server import Server
from runbake_serving.log import LOGGER, WARNED, cause_of
from runbake_serving.model.model import Model
from runbake_serving.prediction.predictor import Predictor
from runbake_serving.protocols.encoding import answer_of
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of
from runbake_serving.settings import Settings

_JSON = MediaType(name="application/json", parameters={})
_SWITCH_S = 0.0005
"""Python lets a thread run for 5 ms while the event loop waits, as long as many requests together take."""


def serve(
    app: FastAPI, model: Model, settings: Settings, sockets: Sequence[socket.socket], lifeline: int
) -> int:
    """Answer until the other end of the pipe `lifeline` closes.

    SIGTERM and SIGINT change nothing: a terminal and some init systems send them to us too, and the
    supervisor decides. The sockets are everybody's: a worker that drained alone would close them to its
    successor.

    0 after a clean end, `OVERRAN` where requests were cut off, `NOT_READY` where the model fails at its own
    example.
    """
    # Not SIG_IGN: programs that the model starts would inherit it, and could not be told to end.
    signal.signal(signal.SIGTERM, _heedless)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.setswitchinterval(_SWITCH_S)
    ACCESS_LOG.begin()
    WARNED.text = False  # from now on it may quote a request
    try:
        status = asyncio.run(_serve(app, model, settings, sockets, lifeline))
    finally:
        ACCESS_LOG.flush()
    return OVERRAN if status == 0 and cut_off(app) else status


def _heedless(_: int, __: FrameType | None) -> None:
    return None


async def _serve(
    app: FastAPI,
    model: Model,
    settings: Settings,
    sockets: Sequence[socket.socket],
    lifeline: int,
) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, told)
    if model.loaded.outlive is not None:
        Thread(target=_end_after, args=(model.loaded.outlive,), daemon=True).start()
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


def _end_after(outlive: Callable[[], object]) -> NoReturn:
    """End this worker when the process that its model needs has ended: nothing could be answered any more."""
    status = outlive()
    LOGGER.error(
        "a process of the model's has ended: so does the worker", extra={"fields": {"status": status}}
    )
    ACCESS_LOG.flush()
    os._exit(CRASHED)


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
