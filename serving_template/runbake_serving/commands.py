"""The image's commands: `serve` (default), `batch`, `predict`, `provenance`."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from runbake_serving.batch.arguments import add_options, finish_of, spec_with
from runbake_serving.batch.failures import BadSpec
from runbake_serving.batch.shards import shard_of
from runbake_serving.contract import BATCH_FAILED, VERSION
from runbake_serving.errors import StartError
from runbake_serving.label.provenance import Provenance, read_provenance
from runbake_serving.log import LOGGER, start_logging
from runbake_serving.model.model_files import FileCheck
from runbake_serving.processes.cpu import cpus_allowed
from runbake_serving.settings import Settings, settings_of, workers_of

if TYPE_CHECKING:
    from runbake_serving.batch.start import Start

_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_HASHING_THREADS = 4


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run one command; the exit status: 0 well, 1 failed, 2 wrong usage.

    `serve` also ends with 70 where its workers keep dying, with 71 where it was told to stop and requests
    were cut off at the end of the grace time, and with 72 where the model fails at its own example.

    `batch` ends as `contract.BATCH_…` say: 0, 73, 74, 75, 78.

    Native thread pools are limited through `environ` before anything loads them.
    """
    chosen = _parser().parse_args(arguments or ["serve"])
    try:
        settings = settings_of(environ)
        if chosen.command == "provenance":
            return _provenance(settings)
        if chosen.command == "predict":
            return _predict(settings, chosen.input, chosen.content_type)
        if chosen.command == "batch":
            return _batch(settings, chosen, environ)
        return _serve(settings, environ)
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"try: {error.hint}", file=sys.stderr)
        # A model or a setting that cannot be used is nothing that a batch job's retry would mend.
        return getattr(error, "exit_code", BATCH_FAILED if chosen.command == "batch" else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runbake_serving", description="Serve the model in this image.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="answer HTTP requests (the default)")
    add_options(commands.add_parser("batch", help="predict files, in parts; every row accounted for"))
    predict = commands.add_parser("predict", help="answer one body of /invocations, without a server")
    predict.add_argument("--input", metavar="FILE", help="the body; standard input if not given")
    predict.add_argument("--content-type", default="application/json", metavar="TYPE")
    commands.add_parser("provenance", help="print the label file")
    return parser


def _provenance(settings: Settings) -> int:
    try:
        body = settings.provenance_file.read_bytes()
    except OSError as error:
        raise StartError(
            f"the label file {settings.provenance_file} cannot be read: {error.strerror}",
            hint="RUNBAKE_PROVENANCE names it; outside an image there is none",
        ) from error
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
    return 0


def _predict(settings: Settings, name: str | None, content_type: str) -> int:
    body = _input(name)
    with _clean_stdout() as stdout:
        checked = check_begun(settings.model_root, read_provenance(settings.provenance_file))
        from runbake_serving.prediction.once import answer_once

        checked()
        status, answer = answer_once(settings, body, content_type)
        (stdout if status == 0 else sys.stderr.buffer).write(answer + b"\n")
    return status


def _input(name: str | None) -> bytes:
    try:
        return Path(name).read_bytes() if name else sys.stdin.buffer.read()
    except OSError as error:
        raise StartError(f"{name} cannot be read: {error.strerror}") from error


@contextmanager
def _clean_stdout() -> Iterator[BinaryIO]:
    """Standard output for the answer alone: what a model prints goes to standard error meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(kept, "wb") as stdout:
        yield stdout
    sys.stdout.flush()


def _batch(settings: Settings, chosen: argparse.Namespace, environ: MutableMapping[str, str]) -> int:
    work = _batch_work(chosen, environ)
    cpus = cpus_allowed()
    _limit_native_threads(environ, cpus, chosen.workers or max(1, int(cpus)))
    start_logging()
    gc.disable()
    sys.dont_write_bytecode = True
    provenance = read_provenance(settings.provenance_file)
    checked = check_begun(settings.model_root, provenance)
    with _clean_stdout() as stdout:
        from runbake_serving.batch.start import Start

        start = Start(
            settings=settings,
            provenance=provenance,
            checked=checked,
            cpus=cpus,
            scratch=Path(chosen.scratch or tempfile.gettempdir()),
            path_style=bool(environ.get("AWS_ENDPOINT_URL") or environ.get("AWS_ENDPOINT_URL_S3")),
        )
        status, where = work(start)
        stdout.write(where.encode() + b"\n")
    return status


def _batch_work(
    chosen: argparse.Namespace, environ: MutableMapping[str, str]
) -> Callable[[Start], tuple[int, str]]:
    """What was asked for, read and checked before anything is loaded."""
    if chosen.step == "finish":
        output, most = finish_of(chosen)
        return lambda start: _start_of_batch().finished(start, output, most)
    spec = spec_with(chosen, None if chosen.spec is None else _spec_text(chosen.spec))
    chosen.workers = spec.workers
    shard = shard_of(chosen.shard, environ)
    return lambda start: _start_of_batch().done(start, spec, shard)


def _spec_text(name: str) -> bytes:
    try:
        return _input(name)
    except StartError as error:
        raise BadSpec(str(error)) from error


def _start_of_batch() -> ModuleType:
    # Imports numpy and what the model needs, after the threads were limited.
    from runbake_serving.batch import start

    return start


def _serve(settings: Settings, environ: MutableMapping[str, str]) -> int:
    # As process 1 of a container we are not even reached by a signal without a handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    started_s, cpus = time.monotonic(), cpus_allowed()
    _limit_native_threads(environ, cpus, workers_of(settings, most=None, cpus=cpus))
    start_logging()
    # What imports make stays: to look for garbage in it takes a tenth of the start. Workers look again.
    gc.disable()
    # The model's files are as the label file has them, also when the process starts again.
    sys.dont_write_bytecode = True
    try:
        provenance = read_provenance(settings.provenance_file)
        checked = check_begun(settings.model_root, provenance)
        from runbake_serving.processes.start import serve

        return serve(settings, provenance, checked, cpus=cpus, now_s=time.monotonic, started_s=started_s)
    except StartError as error:
        LOGGER.error("cannot start", extra={"fields": {"problem": str(error), "hint": error.hint}})
        return 1


def check_begun(root: Path, provenance: Provenance | None) -> Callable[[], None]:
    """Begin to check the model's files; the function that is returned waits for the end, and may raise."""
    if provenance is None or provenance.files is None:
        return _nothing
    return FileCheck(root, provenance.files, threads=_HASHING_THREADS).wait


def _nothing() -> None:
    return None


def _leave(_: int, __: FrameType | None) -> NoReturn:
    """A signal before anything is served: there is nothing to drain."""
    raise SystemExit(0)


def _limit_native_threads(environ: MutableMapping[str, str], cpus: float, workers: int) -> None:
    # Each worker would otherwise start as many threads as the host has CPUs, and they fight.
    each = str(max(1, int(cpus) // workers))
    for name in _THREAD_LIMITS:
        environ.setdefault(name, each)


__all__ = ["main"]
