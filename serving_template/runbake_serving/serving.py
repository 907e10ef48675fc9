"""`serve`: bind, load, build the application, and hand it to the supervisor."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from runbake_serving import worker
from runbake_serving.app import create_app
from runbake_serving.log import LOGGER
from runbake_serving.model import load_model
from runbake_serving.provenance import Provenance
from runbake_serving.settings import Settings, workers_of
from runbake_serving.supervisor import Supervisor, bound_sockets, remove_socket


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
    try:
        checked()
        model = load_model(settings.model_root, always_dataframe=settings.always_dataframe)
        app = create_app(settings, model, provenance)

        def work(listeners: Sequence[socket.socket], lifeline: int) -> int:
            return worker.serve(app, model, settings, listeners, lifeline)

        workers = workers_of(settings, most=model.rules.most_workers, cpus=cpus)
        fields = {
            "address": str(settings.uds or sockets[0].getsockname()),
            "workers": workers,
            "loaded_s": round(now_s() - started_s, 3),
            "array_path": model.rules.array_dtype or "no",
        }
        LOGGER.info("serving", extra={"fields": fields})
        return Supervisor(
            work=work, sockets=sockets, workers=workers, grace_s=settings.grace_s, now_s=now_s
        ).run()
    finally:
        for path, inode in paths:
            remove_socket(path, inode=inode)
