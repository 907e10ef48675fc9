"""Which core serves and which one asks."""

from __future__ import annotations

import os

_CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE, SERVER_CORE = _CORES[0], _CORES[-1]
