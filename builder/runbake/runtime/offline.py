"""The image's `batch` on this machine, hardened as it is proved; the container is gone at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from docker.types import Mount

from runbake.batch import Needs
from runbake.errors import ConfigError
from runbake.runtime.engine import Engine
from runbake.runtime.prove import HARDENED
from runbake_serving import contract

_END_S = 60.0
"""From the last line of the log to the end of the process."""
_SCRATCH = "/scratch"


def run_batch(
    engine: Engine,
    image: str,
    needs: Needs,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    *,
    scratch: Path,
    mark: str,
) -> tuple[int, str]:
    """Do a job in a container of this image: the exit status of its `batch`, and what it printed.

    It runs as who owns the output directory, without network where nothing is remote; `tell` gets what it
    says meanwhile. Ctrl-C reaches it as SIGTERM: what is committed stays. In the empty directory `scratch` it
    makes the parts of a remote output. Should this process be killed, `Engine.sweep` finds it by `mark`.

    Raises:
        ConfigError: the output directory cannot be made.
        EngineError: the engine refused, or went away.
    """
    options = {key: value for key, value in HARDENED.items() if key != "network_mode" or not needs.remote}
    place = _made_output(needs.output) if needs.output else scratch
    target = needs.output or _SCRATCH
    if not needs.output:
        _give_away(scratch)
    container = engine.run_detached(
        image,
        mark=mark,
        command=["batch", *needs.arguments, *(() if needs.output else ("--scratch", _SCRATCH))],
        environment={**environment, contract.ENV_IMAGE_DIGEST: image.partition("@")[2]},
        mounts=[_bind(mount.path, mount.path) for mount in needs.mounts if not mount.writable]
        + [_bind(str(place), target, writable=True)],
        user=_owner(place),
        read_only=True,
        **options,
    )
    try:
        for text in container.follow(stdout=False):
            tell(text)
        return container.wait(timeout_s=_END_S), container.logs(stderr=False)
    finally:
        container.remove()


def _bind(source: str, target: str, *, writable: bool = False) -> Mount:
    return Mount(target=target, source=source, type="bind", read_only=not writable)


def _made_output(output: str) -> Path:
    """The output directory, made if it is missing."""
    path = Path(output)
    try:
        if not path.exists():
            path.mkdir(parents=True)
            _give_away(path)
    except OSError as error:
        raise ConfigError(f"the output {output} cannot be made: {error.strerror}") from error
    return path


def _give_away(path: Path) -> None:
    """What root makes here is the image's user's: a container should not run as root."""
    if os.geteuid() == 0:
        os.chown(path, contract.USER_ID, contract.USER_ID)


def _owner(path: Path) -> str:
    found = path.stat()
    return f"{found.st_uid}:{found.st_gid}"
