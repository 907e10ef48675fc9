"""A hundred thousand wrong requests: no 500, no hang, no worker that dies, nothing told of the inside."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from lab.ports import port_for
from lab.process import tail_of
from tests.slow.mutations import CANARY, Sent, spoilt, valid_requests

with warnings.catch_warnings():
    # MLflow warns of its own type hints while it is imported.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks
    from schemathesis.generation import GenerationMode

    from tests.integration.serving.models_to_serve import CASES, Case, save

pytestmark = pytest.mark.slow

TEMPLATE = Path(__file__).parents[2] / "serving_template"
REQUESTS = int(os.environ.get("RUNBAKE_FUZZ_REQUESTS", "100000"))
"""Spoilt ones over all models; fewer only while working on this file."""
BY_DOCUMENT = REQUESTS // 50
"""As many more are made from the OpenAPI document, over all models."""
MODELS = ("named_columns", "mixed_table", "times_and_flags", "tensor", "with_params", "unsigned")
CONNECTIONS = 16
PATIENCE_S = 20.0
START_S = 60.0
MOST_GROWTH_BYTES = 400 << 20
LEAKS = (b"Traceback", b'File \\"', b'File "', b"site-packages", b".py", b"serving_template", b"0x7f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One server, its model's rows, and the paths that no answer may tell."""

    pid: int
    port: int
    case: Case
    log: Path
    secrets: tuple[bytes, ...]

    def get(self, path: str) -> Any:
        """The JSON behind a path."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, (path, response.status, body)
            return json.loads(body)

    def workers(self) -> set[int]:
        """Process ids of the workers."""
        return set(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))

    def memory_bytes(self) -> int:
        """Resident memory of the workers."""
        pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in self.workers())
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(name: str, directory: Path) -> Iterator[Served]:
    """A real server for one model of the test set."""
    model, log = directory / "model-in-secret-place", directory / "log"
    with warnings.catch_warnings():
        # pandas and MLflow warn of what the models do.
        warnings.simplefilter("ignore")
        case = CASES[name]()
        save(case, model)
    with port_for(29_400) as port, log.open("wb") as out:
        settings = {"MODEL": str(model), "PORT": str(port), "HOST": "127.0.0.1", "WORKERS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "runbake_serving", "serve"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONFAULTHANDLER": "1",  # a crash tells in the log where it was
                "PYTHONPATH": str(TEMPLATE),
                "RUNBAKE_PROVENANCE": str(directory / "none"),
                **{f"RUNBAKE_{key}": value for key, value in settings.items()},
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        served = Served(
            pid=process.pid,
            port=port,
            case=case,
            log=log,
            secrets=(*LEAKS, str(directory).encode(), str(TEMPLATE).encode(), sys.prefix.encode()),
        )
        try:
            _wait(process, served)
            yield served
        finally:
            process.terminate()
            assert process.wait(START_S) == 0, tail_of(log)


def _wait(process: subprocess.Popen[bytes], served: Served) -> None:
    give_up_at = time.monotonic() + START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        assert process.poll() is None, tail_of(served.log)
        assert time.monotonic() < give_up_at, tail_of(served.log)
        time.sleep(0.05)


@dataclass(slots=True)
class Found:
    """What became of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def judge(self, sent: Sent, status: int, head: bytes, body: bytes, secrets: Sequence[bytes]) -> None:
        """Count an answer, and note what is wrong with it."""
        self.statuses[status] += 1
        if status == 200:
            self.accepted[sent.form] += 1
        answer = head + body
        if status >= 500:
            self.note(sent, f"answered {status}: {body[:300]!r}")
        elif status != 200 and CANARY.encode() in body:
            self.note(sent, f"the answer repeats the data: {body[:300]!r}")
        elif told := [secret for secret in secrets if secret in answer and secret not in sent.raw]:
            self.note(sent, f"the answer tells {told}: {answer[:600]!r}")
        elif b"json" in head.lower() and body and not _is_json(body):
            self.note(sent, f"not JSON: {body[:300]!r}")

    def note(self, sent: Sent, fault: str) -> None:
        """Remember a fault with the request that led to it."""
        if len(self.faults) < 20:
            self.faults.append(f"{sent.form}: {fault}\n  after {sent.raw[:1500]!r}")


def _is_json(body: bytes) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        for line in body.splitlines():
            json.loads(line, parse_constant=refuse)
    except ValueError:
        return False
    return True


async def _caller(
    served: Served, valid: Sequence[Sent], luck: random.Random, count: int, found: Found
) -> None:
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for _ in range(count):
        sent, stays = spoilt(valid, luck), False
        try:
            async with asyncio.timeout(PATIENCE_S):
                stream = stream or await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 20)
                status, head, body = await _asked(stream, sent)
        except TimeoutError:
            found.note(sent, f"no answer within {PATIENCE_S:.0f} s")
        except (OSError, EOFError) as error:
            found.note(sent, f"no answer: {error!r}")
        else:
            found.judge(sent, status, head, body, served.secrets)
            stays = b"connection: close" not in head.lower()
        if not stays and stream is not None:
            await _close(stream[1])
            stream = None
    if stream is not None:
        await _close(stream[1])


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close at once and be done: what the loop left open would warn out of a later test."""
    writer.transport.abort()
    with suppress(OSError):  # what broke the connection was noted with its request
        await writer.wait_closed()


async def _asked(
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], sent: Sent
) -> tuple[int, bytes, bytes]:
    reader, writer = stream
    writer.write(sent.raw)
    head = b"HTTP/1.1 100 "
    while head.startswith(b"HTTP/1.1 100 "):
        head = await reader.readuntil(b"\r\n\r\n")
    status, fields = int(head[9:12]), head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in fields if line.startswith(b"content-length:")), None)
    if sent.method == "HEAD" or status == 204:
        return status, head, b""
    if length is not None:
        return status, head, await reader.readexactly(length)
    body, size = b"", -1
    while size:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
    return status, head, body


def _valid(served: Served) -> list[Sent]:
    rows, metadata = served.case.rows, served.get("/v2/models/model")
    # Not every form may have gaps: their rows without any are asked too.
    whole = valid_requests(rows.dropna(), metadata) if isinstance(rows, pd.DataFrame) else []
    return [*whole, *valid_requests(rows, metadata)]


@pytest.mark.parametrize("name", MODELS)
def test_no_request_gets_a_500_hangs_crashes_or_learns_of_the_inside(name: str, tmp_path: Path) -> None:
    """Spoilt bodies of every content type are refused or answered, by a worker that stays and stays small."""
    count = REQUESTS // len(MODELS) // CONNECTIONS + 1
    found = Found()
    lucks = [random.Random(f"{name} {number}") for number in range(CONNECTIONS)]  # noqa: S311 -- of tests

    async def all_callers(served: Served, valid: Sequence[Sent]) -> None:
        await asyncio.gather(*(_caller(served, valid, luck, count, found) for luck in lucks))

    with serving(name, tmp_path) as served:
        valid = _valid(served)
        before, workers = served.memory_bytes(), served.workers()
        asyncio.run(all_callers(served, valid))
        workers_now, grown = served.workers(), served.memory_bytes() - before
    assert not found.faults, "\n".join(found.faults)
    assert workers_now == workers, "a worker died\n" + tail_of(served.log)
    assert found.statuses.total() == count * CONNECTIONS
    # Hollow otherwise: what is refused at the door tries nothing behind it.
    assert found.statuses[200] > found.statuses.total() // 20, found.statuses
    assert grown < MOST_GROWTH_BYTES, f"{grown} bytes more after {found.statuses}"


CONFORMS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
AS_MLFLOW_ANSWERS = ("/ping", "/health")
"""An empty line that is called JSON."""


@pytest.mark.parametrize("name", ["mixed_table", "times_and_flags"])
def test_every_operation_answers_as_the_openapi_document_says(name: str, tmp_path: Path) -> None:
    """Requests by the document, and such that break it, get statuses, headers and bodies as documented."""
    asked: Counter[str] = Counter()
    load_all_checks()
    checks = CHECKS.get_by_names(list(CONFORMS))
    with serving(name, tmp_path) as served, requests.Session() as session:
        document = schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json")
        operations: list[Any] = [cast(Any, found).ok() for found in document.get_all_operations()]
        posts = sum(operation.method == "post" for operation in operations)

        def ask(case: Any) -> None:
            if "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = "model"  # or nearly all of them would be 404
            answer = case.call(session=session, timeout=PATIENCE_S)
            asked[case.operation.label] += 1
            told = answer.content + repr(answer.headers).encode()
            assert not [secret for secret in served.secrets if secret in told], told[:600]
            if case.operation.path not in AS_MLFLOW_ANSWERS:
                case.validate_response(answer, checks=checks)

        for operation in operations:
            share = BY_DOCUMENT // 2 // 2 // posts if operation.method == "post" else 20
            for mode in GenerationMode:
                examples = settings(
                    max_examples=max(share, 1),
                    database=None,
                    deadline=None,
                    derandomize=True,
                    suppress_health_check=list(HealthCheck),
                    phases=(Phase.generate,),
                )
                with suppress(Unsatisfiable):  # nothing can be wrong with a GET without parameters
                    examples(given(case=operation.as_strategy(generation_mode=mode))(ask))()
        assert served.workers(), tail_of(served.log)
    assert len(asked) == len(operations)
    assert asked.total() > BY_DOCUMENT // 2 // 2, asked
