"""`serve`: bind, load, build the application, and hand it to the supervisor."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from fastapi import FastAPI

from runbake_serving.app import create_app
from runbake_serving.contract import NOT_READY
from runbake_serving.errors import StartError
from runbake_serving.label.provenance import Provenance
from runbake_serving.log import LOGGER
from runbake_serving.model.model import Model, load_model, page_of_model
from runbake_serving.processes import worker
from runbake_serving.processes.supervisor import Supervisor, Work, bound_sockets, remove_socket
from runbake_serving.settings import Settings, workers_of

Make = Callable[[], tuple[Model, FastAPI]]
"""Loads the model and builds the application around it."""


def serve(
    settings: Settings,
    provenance: Provenance | None,
    checked: Callable[[], None],
    *,
    cpus: float,
    now_s: Callable[[], float],
    started_s: float,
) -> int:
    """Serve until told to stop; the exit status.

    `checked` returns when the model's files were found right; nothing of the model is loaded before.

    Raises:
        StartError: address, files or model cannot be used.
    """
    sockets = bound_sockets(settings)
    paths = [(path, path.stat().st_ino) for path in (settings.uds, settings.probe) if path]

    def make() -> tuple[Model, FastAPI]:
        model = load_model(
            settings.model_root,
            always_dataframe=settings.always_dataframe,
            trusted_types=settings.trusted_types,
        )
        app = create_app(settings, model, provenance)
        fields = {
            "loaded_s": round(now_s() - started_s, 3),
            "array_path": model.rules.array_dtype or "no",
        }
        LOGGER.info("model loaded", extra={"fields": fields})
        return model, app

    try:
        checked()
        page = page_of_model(settings.model_root)
        workers = workers_of(settings, most=None if page.forks else 1, cpus=cpus)
        address = str(settings.uds or sockets[0].getsockname())
        work = _inherited(settings, make) if page.forks else _own(settings, make)
        fields = {"address": address, "workers": workers, "flavor": page.name}
        LOGGER.info("serving", extra={"fields": fields})
        return Supervisor(
            work=work, sockets=sockets, workers=workers, grace_s=settings.grace_s, now_s=now_s
        ).run()
    finally:
        for path, inode in paths:
            remove_socket(path, inode=inode)


def _inherited(settings: Settings, make: Make) -> Work:
    """Workers that serve one model, which is loaded now."""
    model, app = make()

    def work(listeners: Sequence[socket.socket], lifeline: int) -> int:
        return worker.serve(app, model, settings, listeners, lifeline)

    return work


def _own(settings: Settings, make: Make) -> Work:
    """A worker that loads the model itself, as its threads or processes would not survive the fork."""

    def work(listeners: Sequence[socket.socket], lifeline: int) -> int:
        try:
            model, app = make()
        except StartError as error:
            LOGGER.error("cannot start", extra={"fields": {"problem": str(error), "hint": error.hint}})
            return NOT_READY
        return worker.serve(app, model, settings, listeners, lifeline)

    return work
