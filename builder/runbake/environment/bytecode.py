"""Bytecode for an image, compiled by the base image's own interpreter; the same bytes on every host.

The interpreter's patch release decides some of the bytes (2 of 278 files differ between 3.11.2 and 3.11.7),
so it is part of `bytecode_id`; the machine does not. Files under `tests/` and `test/` get none: they are a
third of some packages and no server imports them. No RECORD lists what is made here: the specification
leaves bytecode out of it, and the same RECORD then holds with and without bytecode.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from runbake.base.interpreter import Interpreter
from runbake.crew import Crew, child_done
from runbake.errors import BytecodeUnavailable, DiskFull
from runbake.image.entry import FileEntry

BYTECODE_RULES = "unchecked-hash-marshal2-1"
"""Names the rules of this module; raised when the same sources would give other bytes."""

_UNCOMPILED = frozenset({"tests", "test", "__pycache__"})
_WORKER = Path(__file__).with_name("_compile_worker.py").read_text(encoding="utf-8")
_OPTIONS = ("-s", "-S", "-B", "-W", "ignore", "-X", "utf8")
_FILES_PER_SHARD = 400
_SHOWN_CHARACTERS = 2000


class RemotePython(Protocol):
    """A Python of an exact release that runs elsewhere, and does not see this machine's files."""

    @property
    def version(self) -> str:
        """ "3.11.2"."""

    def run(
        self, options: Sequence[str], script: str, jobs: Sequence[tuple[Path, str, Path]], directory: Path
    ) -> bytes:
        """What the script prints when it is handed jobs as JSON: source, name, and place of the result.

        Sources are taken there and results brought back; `directory` is for what is under way.

        Raises:
            BytecodeUnavailable: it does not run.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    entry: FileEntry
    source: Path
    target: Path


def bytecode_id(python_version: str) -> str:
    """What decides the bytes of compiled files, beside their sources: a part of a layer's recipe."""
    return f"{BYTECODE_RULES}:cpython-{python_version}"


def compile_bytecode(
    entries: Iterable[FileEntry],
    interpreter: Interpreter | RemotePython,
    directory: Path,
    *,
    processes: int = 2,
) -> tuple[FileEntry, ...]:
    """The entries with a compiled file beside every module, sorted by path.

    Files that do not compile are left as they are. Compiled files are written to `directory`, which the
    entries point into. `processes` decides how long it takes, never what comes out.

    Raises:
        BytecodeUnavailable: the interpreter does not start, fails, or is another release than it should be.

    Source: PEP 552, unchecked hash-based .pyc files.
    """
    kept = tuple(entries)
    directory.mkdir(parents=True, exist_ok=True)
    jobs = _jobs_of(kept, directory)
    size = max(_FILES_PER_SHARD, -(-len(jobs) // max(processes, 1)))
    shards = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    with Crew() as crew:
        parts = crew.each(
            lambda shard: _compile(shard, interpreter, directory), shards, threads=max(processes, 1)
        )
    compiled = [entry for part in parts for entry in part]
    return tuple(sorted((*kept, *compiled), key=lambda entry: entry.path))


def _jobs_of(entries: Sequence[FileEntry], directory: Path) -> list[_Job]:
    jobs: list[_Job] = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        path = PurePosixPath(entry.path)
        if path.suffix != ".py" or entry.link_target or _UNCOMPILED.intersection(path.parts[:-1]):
            continue
        source = entry.content
        if isinstance(source, bytes):
            kept = directory / f"{len(jobs)}.py"
            kept.write_bytes(source)
            source = kept
        jobs.append(_Job(entry=entry, source=source, target=directory / f"{len(jobs)}.pyc"))
    return jobs


def _compile(
    jobs: Sequence[_Job], interpreter: Interpreter | RemotePython, directory: Path
) -> list[FileEntry]:
    asked = [(job.source, f"/{job.entry.path}", job.target) for job in jobs]
    if isinstance(interpreter, Interpreter):
        answer = _ask(interpreter, json.dumps(asked, default=str).encode(), directory)
    else:
        answer = json.loads(interpreter.run(_OPTIONS, _WORKER, asked, directory))
    if answer["version"] != interpreter.version:
        raise BytecodeUnavailable(
            f"the base image's Python was taken for {interpreter.version} and is {answer['version']}",
            hint="build without bytecode: --no-bytecode",
        )
    sizes: list[int] = answer["sizes"]
    return [
        FileEntry(path=_cached(job.entry.path, answer["tag"]), content=job.target, size_bytes=size)
        for job, size in zip(jobs, sizes, strict=True)
        if size
    ]


def _cached(path: str, tag: str) -> str:
    source = PurePosixPath(path)
    return str(source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc")


def _ask(interpreter: Interpreter, asked: bytes, directory: Path) -> dict[str, Any]:
    # Neither our environment nor our modules reach the foreign interpreter; a fixed hash seed fixes the order
    # of sets, which -I would forbid.
    command = [*interpreter.command, *_OPTIONS, "-c", _WORKER]
    try:
        done = child_done(
            command,
            stdin=asked,
            environment={**dict(interpreter.environment), "PYTHONHASHSEED": "0"},
            directory=directory,
        )
        done.check_returncode()
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace")[-_SHOWN_CHARACTERS:]
        if os.strerror(errno.ENOSPC) in said:
            raise DiskFull(
                f"no space left for bytecode in {directory}",
                hint="free some space, or point --cache (RUNBAKE_CACHE) at another device",
            ) from error
        raise BytecodeUnavailable(
            f"the base image's Python {interpreter.version} does not run here: {said or error}",
            hint="build without bytecode (slower first request): --no-bytecode",
        ) from error
    return answer
