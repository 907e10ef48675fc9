"""Sigstore's own JavaScript implementation, which verifies in the tests what runbake signs."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from lab.errors import LabError
from lab.packages import ensure_packages
from lab.state import LAB_DIRECTORY
from lab.story import Story

PACKAGES = {"nodejs": "node", "npm": "npm"}
_SOURCE = Path(__file__).resolve().parent / "sigstore-js"
_DEADLINE_S = 300


def ensure_sigstore_js(*, story: Story | None = None) -> Path:
    """The directory of the packages that package-lock.json pins; installed once, and of two makers one waits.

    Raises:
        LabError: node is missing and cannot be installed, or npm failed.
    """
    told = story or Story()
    ensure_packages(PACKAGES, log=LAB_DIRECTORY / "apt.log", story=told)
    lock = (_SOURCE / "package-lock.json").read_bytes()
    home = LAB_DIRECTORY / f"sigstore-js-{hashlib.sha256(lock).hexdigest()[:12]}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = home / "done"
        if not done.exists():
            with told.step("sigstore-js", "npm ci"):
                _install(home)
            done.touch()
    return home


def _install(home: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_SOURCE / name, home / name)
    made = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    if made.returncode != 0:
        raise LabError(f"npm ci failed ({made.returncode}):\n{made.stderr[-2000:]}")


def verified_payload(home: Path, bundle: Path, key: Path) -> tuple[bytes, str]:
    """What sigstore-js says of a bundle under a public key: the payload, or b"" and its error."""
    asked = subprocess.run(
        ["node", str(_SOURCE / "verify.js"), str(home), str(bundle), str(key)],
        capture_output=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    return asked.stdout, asked.stderr.decode()
