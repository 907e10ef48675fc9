"""The one door to Packer: found, asked for its version, and run in a process group of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbake.aws import hint_of
from runbake.errors import BakeFailed, PackerMissing

OLDEST = (1, 6, 0)
_PLUGINS_SINCE = (1, 7, 0)
_VERSION = re.compile(r"Packer v(\d+)\.(\d+)\.(\d+)")
_VERSION_S = 30
_CLEAN_UP_S = 300
_KEPT_LINES = 400
_TOLD_LINES = 2
_DIAGNOSIS_LINES = 8
_SOURCE = re.compile(r"^\s*(?:==> )?(?:amazon-ebs|qemu)\.machine: ")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_INSTALL = "install it: apt-get install packer, or developer.hashicorp.com/packer/install"

_PASSED = re.compile(
    r"PATH|HOME|USER|LANG|TMPDIR|AWS_.*|SSL_CERT_.*|PACKER_PLUGIN_PATH|PACKER_CACHE_DIR|XDG_.*"
    r"|(?:https?|no)_proxy",
    re.IGNORECASE,
)
"""Of our environment; PKR_VAR_… would set variables, and MLflow's credentials are nothing to Packer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packer:
    """A Packer that runs; `environment` is what it gets of ours."""

    program: str
    version: tuple[int, int, int]
    environment: Mapping[str, str]

    @property
    def template(self) -> str:
        """The directory of templates that this version reads."""
        return "current" if self.version >= _PLUGINS_SINCE else "legacy"

    def prepare(self, directory: Path, say: Callable[[str], None]) -> None:
        """Fetch the plugins that the templates name; Packer 1.6 has its own.

        Raises:
            BakeFailed: they cannot be fetched.
        """
        if self.template == "current":
            self._run(directory, ("init", "."), say)

    def validate(self, directory: Path, say: Callable[[str], None]) -> None:
        """Let Packer check the templates with the variables; AWS is not asked.

        Raises:
            BakeFailed: Packer refuses them.
        """
        self._run(directory, ("validate", "."), say)

    def build(self, directory: Path, say: Callable[[str], None]) -> None:
        """Bake. However this ends, Packer had the time to remove what it made.

        Raises:
            BakeFailed: the bake failed; the message has Packer's own last lines.
        """
        self._run(directory, ("build", "-color=false", "-on-error=cleanup", "."), say)

    def _run(self, directory: Path, arguments: tuple[str, ...], say: Callable[[str], None]) -> None:
        environment = {
            **self.environment,
            "CHECKPOINT_DISABLE": "1",  # it would ask for news
            "AWS_SDK_LOAD_CONFIG": "1",
        }
        if self.template == "legacy":
            # Plugins in ~/.packer.d would take the place of those that are built in.
            environment["PACKER_CONFIG_DIR"] = str(directory)
        process = subprocess.Popen(
            (*_ended_with_us(environment), self.program, *arguments),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        with process:
            try:
                lines = _heard(process, say)
                status = process.wait()
            except BaseException:
                _ended(process, say)
                raise
        if status != 0:
            raise _failure(arguments[0], status, lines)


def find_packer(environment: Mapping[str, str]) -> Packer:
    """The Packer on the search path.

    Raises:
        PackerMissing: there is none, it is another program of that name, or it is too old.
    """
    program = shutil.which("packer", path=environment.get("PATH", os.defpath))
    if program is None:
        raise PackerMissing("Packer is not installed", hint=_INSTALL)
    passed = {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}
    try:
        said = subprocess.run(
            (program, "version"),
            env={**passed, "CHECKPOINT_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackerMissing(f"{program} does not start: {error}", hint=_INSTALL) from error
    found = _VERSION.search(said)
    if found is None:
        # cracklib has a program of that name as well.
        raise PackerMissing(f"{program} is not HashiCorp's Packer", hint=_INSTALL)
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version < OLDEST:
        raise PackerMissing(f"{program} is Packer {'.'.join(found.groups())}, too old", hint=_INSTALL)
    return Packer(program=program, version=version, environment=passed)


def _heard(process: subprocess.Popen[str], say: Callable[[str], None]) -> list[str]:
    assert process.stdout is not None  # noqa: S101 -- it is a pipe, as ordered above
    lines: list[str] = []
    for raw in process.stdout:
        line = _ESCAPES.sub("", raw).rstrip()
        if line:
            say(line)
            lines = [*lines[-_KEPT_LINES:], line]
    return lines


def _ended(process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    """Let Packer remove what it made; whoever interrupts again does not wait for that."""
    try:
        _signal(process, signal.SIGTERM)
        say("Packer is asked to end, and removes what it made")
        process.communicate(timeout=_CLEAN_UP_S)
    except subprocess.TimeoutExpired:
        say(f"Packer did not end within {_CLEAN_UP_S} s")
    finally:
        # The group: Packer's plugins live on without it.
        _signal(process, signal.SIGKILL)
        process.wait()


def _ended_with_us(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What has Packer end, and remove what it made, when this process is killed; () without setpriv."""
    program = shutil.which("setpriv", path=environment.get("PATH", os.defpath))
    return (program, "--pdeathsig", "TERM") if program else ()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _failure(command: str, status: int, lines: list[str]) -> BakeFailed:
    text = "\n".join(lines)
    told = "\n".join(dict.fromkeys(_telling(lines))) or "it said nothing"
    return BakeFailed(f"packer {command} ended with {status}:\n{told}", hint=hint_of(text))


def _telling(lines: list[str]) -> list[str]:
    """The lines that say why: a diagnosis of the templates, or what came before the build was given up."""
    diagnosis = _first(lines, "Error:")
    if diagnosis is not None and lines[diagnosis].startswith("Error:"):
        return lines[diagnosis : diagnosis + _DIAGNOSIS_LINES]
    script = _first(lines, "Provisioning step had errors")
    said = lines[max(0, script - _TOLD_LINES) : script] if script is not None else []
    ended = [line.partition(": ")[2] for line in lines if " errored after " in line]
    return [_SOURCE.sub("", line) for line in (*said, *ended)] or lines[-_TOLD_LINES:]


def _first(lines: list[str], text: str) -> int | None:
    return next((at for at, line in enumerate(lines) if text in line), None)
