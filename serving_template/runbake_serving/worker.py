"""One worker: warm the model up, answer on the sockets, drain when told."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from runbake_serving.app import cut_off
from runbake_serving.encoding import answer_of
from runbake_serving.errors import RequestError
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.model import Model
from runbake_serving.predictor import Predictor
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of
from runbake_serving.settings import Settings
from runbake_serving.supervisor import OVERRAN

_BACKLOG = 2048
_JSON = MediaType(name="application/json", parameters={})


def serve(
    app: FastAPI, model: Model, settings: Settings, sockets: Sequence[socket.socket], lifeline: int
) -> int:
    """Answer until SIGTERM, or until the other end of the pipe `lifeline` closes.

    0 after a clean end, `OVERRAN` where requests were cut off.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=settings.grace_s,
        )
    )

    def told_to_end(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    # For a SIGTERM during the warm-up, and for the one that uvicorn raises again after it drained.
    signal.signal(signal.SIGTERM, told_to_end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us too: the supervisor decides
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    asyncio.run(_serve(server, model, list(sockets), lifeline))
    return OVERRAN if cut_off(app) else 0


async def _serve(server: uvicorn.Server, model: Model, sockets: list[socket.socket], lifeline: int) -> None:
    await warm_up(model)

    def orphaned() -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        server.should_exit = True

    asyncio.get_running_loop().add_reader(lifeline, orphaned)
    await server.serve(sockets=sockets)


async def warm_up(model: Model) -> None:
    """Ask the model its own example, so that no caller pays for what the first prediction imports."""
    if not model.example:
        return
    predictor = Predictor(model, threads=1)
    try:
        question = question_of(model.example, _JSON, model)
        answer_of(await predictor.predict(question, "warm-up"))
    except RequestError as error:
        LOGGER.warning("the model does not answer its own example", extra={"fields": cause_of(error)})
    finally:
        predictor.close()
