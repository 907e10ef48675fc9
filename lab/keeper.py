"""Keeps one server of the lab alive until SIGTERM: `python -m lab.keeper KIND DIRECTORY PORT`.

The servers are context managers, made for tests; the demo's must outlive the command that started them.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from lab.mlflow_server import running_mlflow
from lab.registry_server import running_registry

ADDRESS_FILE = "address"
_DEADLINE_S = 90.0


def keep(kind: str, directory: Path, port: int) -> None:
    """Run the server, write its address to `directory/address` when it answers, stop it at SIGTERM."""
    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    with _server(kind, directory, port) as address:
        temporary = directory / f"{ADDRESS_FILE}.tmp"
        temporary.write_text(address)
        temporary.replace(directory / ADDRESS_FILE)
        asked_to_stop.wait()


def _server(kind: str, directory: Path, port: int) -> AbstractContextManager[str]:
    match kind:
        case "registry":
            return running_registry(directory, deadline_s=_DEADLINE_S, port=port)
        case "mlflow":
            return running_mlflow(directory, deadline_s=_DEADLINE_S, port=port)
        case _:
            raise ValueError(f"no server of the kind {kind!r}")


def main(arguments: Sequence[str]) -> None:
    """Command line: kind, directory, port."""
    kind, directory, port = arguments
    keep(kind, Path(directory), int(port))


if __name__ == "__main__":
    main(sys.argv[1:])
