"""Proof: the real container answers the run's own example as MLflow itself does.

The container runs as it will in production: by digest, read-only, non-root, without capabilities, and
without a network, so it is asked through `docker exec`. The other opinion is mlflow.pyfunc in a second
container of the same image, which imports nothing of runbake's runtime.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from runbake.errors import ProofFailed
from runbake.image import Blob
from runbake.runtime.compare import differences
from runbake.runtime.container import Executed, RunningContainer, Together
from runbake.runtime.engine import Engine, EngineImage
from runbake_serving import contract

READY_WITHIN_S = 120.0
REFERENCE_ROOT = "opt/runbake/reference"
_SHOWN = 5
HARDENED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "network_mode": "none",
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "size=64m"},  # noqa: S108 -- the container's own
}
"""How a container is proved; `read_only` comes on top for the one that serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a proof asks and how it judges.

    `reference` is a tar of mlflow-skinny and what it needs, under `REFERENCE_ROOT`.
    """

    tolerance: float
    reference: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was asked of an image on one platform, and that it answered well.

    `kind` is "example" (the run's own), "signature" (a row made from it) or "readiness" (nothing to ask).
    `reference` names the MLflow that gave the same answer, "" where there was nothing to ask.
    """

    platform: str
    image: str
    kind: str
    reference: str
    ready_s: float

    def to_json(self) -> dict[str, object]:
        """The proof as a document."""
        return {
            "platform": self.platform,
            "image": self.image,
            "kind": self.kind,
            "reference": self.reference,
            "readyAfterSeconds": self.ready_s,
        }


def prove(engine: Engine, subject: EngineImage, platform: str, question: Question) -> Proof:
    """Start the image as in production and compare its answer with MLflow's.

    Raises:
        ProofFailed: it does not start, does not answer 200, or answers otherwise than MLflow or than its
            own DataFrame path; the message has the first differences or the end of the log.
        EngineError: the engine failed.
    """
    image = subject.name
    python = _interpreter(engine, subject)
    # Two containers that know nothing of each other. They end before the pool does, which waits for both.
    with ThreadPoolExecutor(2) as pool, engine.together(mark=subject.mark) as containers:
        probing = pool.submit(_probe, containers, subject, python)
        asking = pool.submit(_ask_reference, containers, subject, python, question)
        report = probing.result()
        _check_status(image, report)
        said = asking.result()
    if report["request"]:
        answer = _parsed(image, "the server", report["answer"])
        _check_dataframe_path(image, report, answer, question.tolerance)
        expected = _parsed(image, "mlflow.pyfunc", said["answer"])
        _check_equal(image, f"mlflow.pyfunc {said['mlflow']}", expected, answer, question.tolerance)
    return Proof(
        platform=platform,
        image=image,
        kind=str(report["kind"]),
        reference=f"mlflow-skinny {said['mlflow']}" if report["request"] else "",
        ready_s=float(report["ready_s"]),
    )


def _interpreter(engine: Engine, subject: EngineImage) -> str:
    entrypoint = engine.entrypoint(subject.id)
    if not entrypoint:
        raise ProofFailed(f"{subject.name} has no entrypoint: it was not made by runbake")
    return entrypoint[0]


def _environment(mode: str) -> dict[str, str]:
    return {
        "PROBE_MODE": mode,
        "PROBE_MODEL": contract.MODEL_ROOT,
        "PROBE_PORT": str(contract.PORT),
        "PROBE_DEADLINE_S": str(READY_WITHIN_S),
        # Not the signature itself: with thousands of columns it is longer than an environment may be.
        "PROBE_PROVENANCE": contract.PROVENANCE_FILE,
        "PROBE_REFERENCE": f"/{REFERENCE_ROOT}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HOME": "/tmp",  # noqa: S108 -- the container's own
    }


def _script() -> str:
    return (files("runbake.runtime") / "_inside.py").read_text(encoding="utf-8")


def _probe(containers: Together, subject: EngineImage, python: str) -> dict[str, Any]:
    image, command = subject.name, [python, "-c", _script()]
    with containers.container(subject.id, read_only=True, **HARDENED) as container:
        container.start()
        done = container.execute(command, _environment("probe"), timeout_s=READY_WITHIN_S + 180)
        if done.exit_code != 0:
            raise ProofFailed(_story(f"the prober ended with {done.exit_code}", container, done))
        report: dict[str, Any] = _document(image, "the prober", done.stdout)
        if not report["ready"]:
            raise ProofFailed(_story(f"not ready after {READY_WITHIN_S:.0f} s", container, done))
        if report.get("status", 200) >= 500:
            problem = f"answered {report['status']}: {report['answer'][:500]}"
            raise ProofFailed(_story(problem, container, done))
    return report


def _ask_reference(
    containers: Together, subject: EngineImage, python: str, question: Question
) -> dict[str, Any]:
    image = subject.name
    with containers.container(
        subject.id,
        entrypoint=[python, "-c", _script()],
        command=[],
        environment=_environment("reference"),
        **HARDENED,
    ) as container:
        with question.reference.open() as tar:
            container.put(tar)
        container.start()
        if code := container.wait(timeout_s=300):
            raise ProofFailed(
                f"mlflow.pyfunc cannot answer the example in {image} (exit {code}):\n"
                + container.logs(tail=20),
                hint="the model's requirements may lack something that it needs to load",
            )
        # Model code may print; the answer is the last line.
        return _document(image, "mlflow.pyfunc", container.logs(stderr=False).strip().rpartition("\n")[2])


def _story(problem: str, container: RunningContainer, done: Executed) -> str:
    status, code = container.state()
    log = container.logs(tail=30)
    return f"{problem}; container {status} ({code})\n{done.stderr[-2000:]}{log[-4000:]}".rstrip()


def _check_status(image: str, report: dict[str, Any]) -> None:
    if report.get("status", 200) != 200:
        raise ProofFailed(
            f"{image} answered {report['status']} to the run's {report['kind']}: {report['answer'][:500]}",
            hint="does mlflow.pyfunc answer it? the example is in serving_input_example.json of the model",
        )


def _check_dataframe_path(image: str, report: dict[str, Any], answer: object, tolerance: float) -> None:
    code, out, err = report["dataframe"]
    if code != 0:
        raise ProofFailed(f"{image}: `predict` by the DataFrame path ended with {code}: {err}")
    _check_equal(image, "its own DataFrame path", _parsed(image, "predict", out), answer, tolerance)


def _document(image: str, who: str, text: str) -> dict[str, Any]:
    found = _parsed(image, who, text)
    if not isinstance(found, dict):
        raise ProofFailed(f"{image}: {who} did not answer with an object: {text[:200]!r}")
    return found


def _parsed(image: str, who: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ProofFailed(f"{image}: {who} did not answer with JSON: {text[:200]!r}") from error


def _check_equal(image: str, who: str, expected: object, found: object, tolerance: float) -> None:
    unequal: Sequence[str] = tuple(differences(expected, found, tolerance=tolerance))
    if unequal:
        shown = "\n  ".join(unequal[:_SHOWN])
        raise ProofFailed(
            f"{image} answers otherwise than {who}, in {len(unequal)} places:\n  {shown}",
            hint="if it answers arrays otherwise than DataFrames: runbake containerize --dataframe-path",
        )
