"""What every refusal of the command looks like, whatever the cause."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import pytest
from _pytest.mark.structures import ParameterSet

from runbake.errors import RunbakeError
from tests.e2e.world import ROOT, Said, World

README = (ROOT / "README.md").read_text()
QUICKLY = ("--no-prove", "--allow-unproven")
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}


def cases(table: Iterable[str], *, slow: Collection[str]) -> list[ParameterSet]:
    """The table's cases for `parametrize`; the slow ones differ little from others, and run at night."""
    return [pytest.param(case, marks=[pytest.mark.slow] if case in slow else []) for case in table]


def refused(
    world: World,
    error: type[RunbakeError],
    *arguments: str,
    says: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Said:
    """Run `containerize`, and expect this error in every place where the user meets it.

    That is the exit status, which the README documents, one line `error:`, one line `try:`, and an image.json
    that repeats them; `says` are words that both show. Nothing is on stdout, and no traceback or control
    character on stderr.
    """
    said = world.run("containerize", *arguments, env=env)
    assert said.status == error.exit_code, f"{said.status}, not {error.__name__}:\n{said.err}"
    assert f"| {error.exit_code} | `{error.__name__}`: " in README
    assert said.out == ""
    problem = read_error(said)
    report = world.report()
    told = report["error"]["problem"] + report["error"]["try"]
    for word in says:
        assert word in problem, f"{word!r} is not in:\n{problem}"
        assert word in told, f"{word!r} is not in image.json: {told}"
    assert report["status"] == "failed"
    assert (report["error"]["kind"], report["error"]["exitCode"]) == (error.__name__, error.exit_code)
    assert report["error"]["try"]
    return said


def read_error(said: Said) -> str:
    """The lines from `error:` to the end of stderr: problem, what is done, hint; no control character."""
    assert "Traceback" not in said.err, said.err
    assert all(character.isprintable() for line in said.err.split("\n") for character in line), said.err
    found = re.findall(
        r"^error: (.+(?:\n  .*)*)\n(?:done:  .+\n)*try:   (.+)\n\Z", said.err, flags=re.MULTILINE
    )
    assert len(found) == 1, said.err
    return "\n".join(found[0])


def went_well(world: World, repository: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run `containerize` into HOST/NAME and expect success; the image's digest."""
    said = world.done("containerize", *arguments, "--repository", repository, *QUICKLY, env=env)
    reference, _, digest = said.out.strip().partition("@")
    assert reference == repository
    assert world.report()["status"] == "done"
    return digest
