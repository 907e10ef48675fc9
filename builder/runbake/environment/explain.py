"""What uv's failures mean to the user."""

from __future__ import annotations

import re

from runbake.environment.pylock import NO_WHEEL_HINT
from runbake.environment.uv import UvAnswer
from runbake.errors import DiskFull, IndexUnreachable, LockError, NoWheel, RunbakeError, Unresolvable

_REFUSED = re.compile(
    r"401 Unauthorized|403 Forbidden|407 Proxy Authentication|valid authentication credentials"
)
_UNREACHABLE = re.compile(
    r"Request failed after|error sending request|Failed to fetch|dns error|network was disabled"
    r"|Failed to read `?--find-links|tcp connect error|invalid peer certificate"
)
_NO_WHEEL = re.compile(
    r"(?P<every>all versions of )?(?P<name>[A-Za-z0-9._\-]+)(?P<version>[=<>!~][^\s,]*)?"
    r" ha(?:s|ve) no (?:usable )?wheels"
)
_FILTERED = re.compile(r"was filtered by `exclude-newer`")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_HASH = re.compile(r"Hash mismatch for `(?P<what>[^`]+)`")
_MISSING_DATE = re.compile(r"is missing an upload date")
_NOISE = re.compile(
    r"^(?:warning: .*|\s*If (?:the cache and target|this is intentional).*"
    r"|Resolved \d+ packages? in .*|Using CPython .*)$"
)
_HEAD_LINES, _TAIL_LINES = 24, 12

INDEX_HINT = (
    "uv reads the index, its credentials and its CA from UV_DEFAULT_INDEX, UV_INDEX, SSL_CERT_FILE, uv.toml"
)


def lacks_upload_times(answer: UvAnswer) -> bool:
    """Whether uv threw files away because their index does not say when they were uploaded."""
    return bool(_MISSING_DATE.search(answer.stderr))


def error_of(answer: UvAnswer, *, doing: str) -> RunbakeError:
    """The error that this failed answer means; uv's explanation is kept, without URLs.

    `doing` completes "… failed", e.g. "locking the model's requirements".
    """
    text, said = answer.stderr, explanation_of(answer.stderr)
    if _FULL.search(text):
        return DiskFull(
            f"{doing} failed: no space left for uv's cache or for the installed files\n{said}",
            hint="free some space (uv cache prune), or point UV_CACHE_DIR, RUNBAKE_CACHE elsewhere",
        )
    if hashes := _HASH.search(text):
        return LockError(
            f"{doing} failed: the bytes of {hashes['what']} are not the ones that were locked",
            hint="the index or uv's cache holds another file under this name; lock again with --relock",
        )
    if _REFUSED.search(text):
        return IndexUnreachable(f"{doing} failed: the package index refuses\n{said}", hint=INDEX_HINT)
    if _UNREACHABLE.search(text):
        return IndexUnreachable(f"{doing} failed: the package index does not answer\n{said}", hint=INDEX_HINT)
    if "No solution found" in text:
        return _unsolvable(text, f"{doing} failed\n{said}")
    return LockError(f"{doing} failed\n{said}", hint="the text above is uv's own")


def _unsolvable(text: str, problem: str) -> LockError:
    # uv names sdists in passing while it explains a cut-off date; then the date is what to change.
    if _FILTERED.search(text):
        return Unresolvable(problem, hint="a later --lock-date lets newer releases in")
    joined = re.sub(r"\s+", " ", text)
    if match := _NO_WHEEL.search(joined):
        what = f"{match['every'] or ''}{match['name']}{match['version'] or ''}"
        return NoWheel(f"no wheel for the target platform and Python: {what}\n{problem}", hint=NO_WHEEL_HINT)
    return Unresolvable(
        problem, hint="change the model's pip_requirements, or add the index that has them (UV_INDEX)"
    )


def explanation_of(stderr: str) -> str:
    """uv's explanation without its notices, at most three dozen lines."""
    lines = [line.rstrip() for line in stderr.splitlines() if not _NOISE.match(line)]
    lines = [line for number, line in enumerate(lines) if line or (number and lines[number - 1])]
    if len(lines) > _HEAD_LINES + _TAIL_LINES:
        left_out = len(lines) - _HEAD_LINES - _TAIL_LINES
        lines = [*lines[:_HEAD_LINES], f"[{left_out} lines left out]", *lines[-_TAIL_LINES:]]
    return "\n".join(lines).strip()
