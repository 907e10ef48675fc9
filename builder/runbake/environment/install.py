"""Locked wheels onto disk, by uv, checked against the lock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from runbake.environment.explain import error_of
from runbake.environment.lock import Lock, LockedWheel
from runbake.environment.tree import Installed, read_installed
from runbake.environment.uv import Uv


def install(wheels: Iterable[LockedWheel], *, lock: Lock, directory: Path, uv: Uv) -> Installed:
    """Install exactly these wheels of the lock's target into a new directory, and read back what came.

    One uv process downloads and unpacks in parallel, so several groups are installed in one call and told
    apart afterwards by `entries_of`. Files may be hard links into uv's cache: read them, never write them.

    Raises:
        IndexUnreachable: the package index does not answer, or refuses.
        ConflictingWheels: two of the wheels bring different files under one path.
        LockError: a wheel's bytes are not the locked ones, or uv failed in another way.
    """
    chosen = tuple(wheels)
    directory.mkdir(parents=True, exist_ok=True)
    if chosen:
        _run(chosen, lock, directory, uv)
    return read_installed(directory, chosen)


def _run(wheels: tuple[LockedWheel, ...], lock: Lock, directory: Path, uv: Uv) -> None:
    with tempfile.TemporaryDirectory(prefix="runbake-install-") as scratch:
        listed = Path(scratch, "requirements.txt")
        listed.write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels))
        answer = uv.run(
            "pip",
            "install",
            f"--target={directory}",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--no-compile-bytecode",
            "--no-sources",
            "--link-mode=hardlink",
            f"--python={uv.python}",
            f"--python-platform={lock.uv_platform}",
            f"--python-version={lock.python}",
            f"--requirements={listed}",
        )
    if answer.status != 0:
        raise error_of(answer, doing="installing the locked wheels")
