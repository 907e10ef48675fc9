"""The door to uv: runs it with the user's own settings, and keeps what it says fit to print."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from uv import find_uv_bin

from runbake.crew import child_done
from runbake.errors import LockError

# Settings that would change what is locked or how it is laid out, or which interpreter uv asks.
_DROPPED = frozenset(
    {
        "RUST_LOG",
        "UV_COMPILE_BYTECODE",
        "UV_CONSTRAINT",
        "UV_EXCLUDE",
        "UV_EXCLUDE_NEWER",
        "UV_FORK_STRATEGY",
        "UV_NO_VERIFY_HASHES",
        "UV_OVERRIDE",
        "UV_PRERELEASE",
        "UV_PYTHON",
        "UV_REQUIRE_HASHES",
        "UV_RESOLUTION",
        "UV_SYSTEM_PYTHON",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "VIRTUAL_ENV",
    }
)
# Where uv looks for uv.toml and [tool.uv], and above it: the working directory has no say in what is locked.
# --no-config would pass over the user's own settings too, which name the index.
_NO_PROJECT = "--project=/"
_ADDED = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}

_SECRET_NAME = re.compile(r"UV_.*(PASSWORD|USERNAME|TOKEN)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"`<>,]*[^\s'\"`<>,.:;)\]]")
_MIN_SECRET_LENGTH = 3
URL_MARKER = "[url]"
SECRET_MARKER = "[redacted]"  # noqa: S105 - what stands where a secret was


@dataclass(frozen=True, slots=True, kw_only=True)
class UvAnswer:
    """What a finished uv said; `stderr` holds neither URLs nor credentials, `stdout` is uv's own bytes."""

    status: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """uv with one user's settings; index, CA and wheelhouse reach it by the environment and the user's
    own uv.toml only.

    `python` is an interpreter that uv may ask about this host; it decides nothing about the target.
    """

    executable: Path
    python: Path
    environment: tuple[tuple[str, str], ...] = field(repr=False)

    def run(self, *arguments: str, stdin: str = "") -> UvAnswer:
        """Run uv to its end and give what it said.

        Raises:
            LockError: uv cannot be started.
        """
        try:
            done = child_done(
                [str(self.executable), _NO_PROJECT, *arguments],
                stdin=stdin.encode(),
                environment=dict(self.environment),
            )
        except OSError as error:
            raise LockError(
                f"uv cannot be started: {error.strerror}", hint="reinstall it with: pip install --force uv"
            ) from error
        text = done.stderr.decode("utf-8", "replace")
        return UvAnswer(
            status=done.returncode,
            stdout=done.stdout,
            stderr=without_urls(text, secrets=secrets_of(dict(self.environment))),
        )


def find_python(uv: Uv, minor: str) -> Path | None:
    """A Python of this minor version on this machine, "3.11" for one; None where uv finds none."""
    if minor == ".".join(map(str, sys.version_info[:2])):
        return uv.python
    answer = uv.run("python", "find", "--system", "--no-project", minor)
    found = Path(answer.stdout.decode("utf-8", "replace").strip())
    return found if answer.status == 0 and found.is_absolute() else None


def find_uv(environment: Mapping[str, str]) -> Uv:
    """The uv that runbake was installed with, under the user's environment.

    Raises:
        LockError: the package `uv` is there without its binary.
    """
    try:
        executable = Path(find_uv_bin())
    except FileNotFoundError as error:
        raise LockError(
            "the uv binary is missing", hint="reinstall it with: pip install --force uv"
        ) from error
    kept = {name: value for name, value in environment.items() if name not in _DROPPED}
    return Uv(
        executable=executable,
        python=Path(sys.executable),
        environment=tuple(sorted((kept | _ADDED).items())),
    )


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Every credential that uv may read from these variables, longest first."""
    found = {value for name, value in environment.items() if _SECRET_NAME.fullmatch(name)}
    for name, value in environment.items():
        if name.startswith("UV_"):
            for word in value.split():
                found |= _credentials_of(word)
    return tuple(sorted((s for s in found if len(s) >= _MIN_SECRET_LENGTH), key=lambda s: (-len(s), s)))


def _credentials_of(word: str) -> set[str]:
    # UV_INDEX takes NAME=URL.
    try:
        url = urlsplit(word[word.find("=") + 1 :] if "=" in word.split("://")[0] else word)
    except ValueError:
        return set()
    raw = {url.username or "", url.password or ""}
    return raw | {unquote(part) for part in raw}


def without_urls(text: str, *, secrets: tuple[str, ...] = ()) -> str:
    """The text with each URL replaced by `URL_MARKER` and each of these secrets by `SECRET_MARKER`."""
    shown = _URL.sub(URL_MARKER, text)
    for secret in secrets:
        shown = shown.replace(secret, SECRET_MARKER)
    return shown
