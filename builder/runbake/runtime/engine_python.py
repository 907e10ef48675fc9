"""The base's own Python in the engine, for hosts on which no image runs without one (macOS)."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runbake.errors import BytecodeUnavailable, EngineError
from runbake.runtime.engine import Engine

_ROOT = "runbake-bytecode"
_JOBS = f"/{_ROOT}/jobs.json"
_ANSWER = f"/{_ROOT}/answer.json"
_TIMEOUT_S = 900.0
# A started container has no stdin, and what it prints passes through the engine's log driver.
_PREFIX = f"import sys\nsys.stdin, sys.stdout = open({_JOBS!r}), open({_ANSWER!r}, 'w')\n"
_ISOLATED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "network_mode": "none",
    "security_opt": ["no-new-privileges"],
    # Only root may write where the engine unpacks; the image's own user is nobody in particular.
    "user": "0:0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePython:
    """The Python at `path` of an image in the engine; `version` is its exact release, such as "3.11.2"."""

    engine: Engine
    image: str
    path: str
    version: str

    def run(
        self, options: Sequence[str], script: str, jobs: Sequence[tuple[Path, str, Path]], directory: Path
    ) -> bytes:
        """What the script prints; sources are copied into a container and results out of it.

        Jobs are a source, its name in the image, and where the result goes; no result is no error.

        Raises:
            BytecodeUnavailable: the image's Python does not run in this engine.
        """
        try:
            return self._run([*options, "-c", _PREFIX + script], jobs, directory)
        except EngineError as error:
            raise BytecodeUnavailable(
                f"the base image's Python {self.version} does not run in the engine: {error}",
                hint="build without bytecode (slower first request): --no-bytecode",
            ) from error

    def _run(
        self, arguments: Sequence[str], jobs: Sequence[tuple[Path, str, Path]], directory: Path
    ) -> bytes:
        with (
            self.engine.container(
                self.image,
                entrypoint=[self.path, *arguments],
                command=[],
                environment={"PYTHONHASHSEED": "0"},
                **_ISOLATED,
            ) as container,
            tempfile.TemporaryFile(dir=directory) as packed,
        ):
            _pack(jobs, packed)
            container.put(packed)
            container.start()
            if code := container.wait(timeout_s=_TIMEOUT_S):
                raise EngineError(f"it ended with {code}: {container.logs(tail=20)[-2000:]}")
            packed.seek(0)
            packed.truncate()
            container.get(f"/{_ROOT}", packed)
            return _unpacked(packed, [target for _, _, target in jobs])


def _pack(jobs: Sequence[tuple[Path, str, Path]], out: IO[bytes]) -> None:
    asked = [
        [f"/{_ROOT}/{number}.py", name, f"/{_ROOT}/{number}.pyc"] for number, (_, name, _) in enumerate(jobs)
    ]
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, _JOBS.lstrip("/"), json.dumps(asked).encode())
        for number, (source, _, _) in enumerate(jobs):
            _add(tar, f"{_ROOT}/{number}.py", source.read_bytes())
    out.seek(0)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _unpacked(packed: IO[bytes], targets: Sequence[Path]) -> bytes:
    """Write each result to its target; the answer beside them."""
    packed.seek(0)
    answer = b""
    wanted = {f"{_ROOT}/{number}.pyc": target for number, target in enumerate(targets)}
    with tarfile.open(fileobj=packed, mode="r:") as tar:
        for member in tar:
            source = tar.extractfile(member)
            if source is not None and member.name in wanted:
                wanted[member.name].write_bytes(source.read())
            elif source is not None and f"/{member.name}" == _ANSWER:
                answer = source.read()
    return answer
