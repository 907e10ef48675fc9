"""A Python of this machine in the place of a base image: for what runs here and is never pushed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from runbake.base.base import Base, PythonFacts
from runbake.base.interpreter import Host
from runbake.errors import BaseImageError
from runbake.image.blob import Digest

_ASK = """
import json, platform, sys
print(json.dumps({"python": platform.python_version(), "libc": platform.libc_ver()}))
"""
_ASKED_WITHIN_S = 60


def base_here(python: Path, host: Host) -> Base:
    """What a lock needs to know of this interpreter; the base has no layers, and its digest is of no image.

    Raises:
        BaseImageError: it does not start, or this machine runs no Linux wheels.
    """
    hint = "name a base image (--base, RUNBAKE_BASE), or make the image first: runbake containerize"
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", _ASK], capture_output=True, check=True, timeout=_ASKED_WITHIN_S, env={}
        )
        told = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BaseImageError(f"{python} does not say which Python it is: {error}", hint=hint) from error
    name, glibc = told["libc"]
    if not host.platform or name != "glibc":
        raise BaseImageError(
            f"this machine ({host.system} {host.machine}) runs no wheels for Linux with glibc", hint=hint
        )
    return Base(
        asked=str(python),
        name=str(python),
        digest=Digest.of(done.stdout),
        index_digest=None,
        platform=host.platform,
        media_type="",
        config=b"{}",
        layers=(),
        facts=PythonFacts(
            python_path=str(python), python_version=told["python"], glibc=glibc, os_id="", os_version=""
        ),
    )
