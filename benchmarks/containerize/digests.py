"""The same run built by unlike builders: every digest must be one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from benchmarks.containerize import runs
from benchmarks.containerize.ours import containerize
from benchmarks.containerize.parts import Parts, fresh_checkout, venv
from benchmarks.containerize.processes import timed
from benchmarks.containerize.table import Row

_MINORS = ("3.14", "3.13", "3.12", "3.11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """One who builds: under which user, umask, time zone, CPUs and Python."""

    name: str
    user_id: int
    umask: str
    time_zone: str
    cpus: str
    python: Path


def same_digest(parts: Parts) -> list[Row]:
    """Two fresh checkouts, two of everything that a host may differ in."""
    run_id = runs.log(parts).run_id
    pythons = _pythons(parts)
    builders = (
        Builder(name="first", user_id=os.getuid(), umask="022", time_zone="UTC", cpus="0", python=pythons[0]),
        Builder(
            name="second",
            user_id=65534 if os.getuid() == 0 else os.getuid(),
            umask="077",
            time_zone="Pacific/Kiritimati",
            cpus=f"0-{(os.cpu_count() or 1) - 1}",
            python=pythons[-1],
        ),
    )
    digests = [_digest(parts, run_id, builder) for builder in builders]
    differ = _versions(builders)
    return [
        Row(
            what="one run, two builders, linux/amd64",
            ours=f"`{digests[0][:19]}…`",
            peer=f"`{digests[1][:19]}…`; user, umask, time zone, CPUs, Python {differ}",
            found="identical" if len(set(digests)) == 1 else "different",
            limit="identical",
            reached=len(set(digests)) == 1 and len({builder.user_id for builder in builders}) == 2,
        )
    ]


def _digest(parts: Parts, run_id: str, builder: Builder) -> str:
    home = parts.work / builder.name
    checkout = fresh_checkout(home / "checkout")
    python = venv(home / "venv", builder.python, checkout)
    cache = home / "cache"
    timed(["chown", "-R", str(builder.user_id), home])
    prefix = ["taskset", "-c", builder.cpus]
    if builder.user_id != os.getuid():
        prefix += ["setpriv", f"--reuid={builder.user_id}", "--clear-groups"]
    prefix += ["sh", "-c", f'umask {builder.umask}; exec "$@"', "sh"]
    environment = {
        **parts.environment,
        "PYTHONPATH": f"{checkout / 'builder'}:{checkout / 'serving_template'}",
        "TZ": builder.time_zone,
        "HOME": str(home),
        "UV_CACHE_DIR": str(home / "uv"),
    }
    built = containerize(
        parts,
        run_id,
        f"same-{builder.name}",
        cache=cache,
        prefix=prefix,
        python=python,
        environment=environment,
    )
    shutil.rmtree(home)
    return str(built.report["digest"])


def _pythons(parts: Parts) -> list[Path]:
    """Unlike Pythons of this machine, copied to where every user may read them."""
    found: list[Path] = []
    listed = timed([find_uv_bin(), "python", "list", "--only-installed", "--output-format", "json"]).stdout
    for entry in json.loads(listed):
        minor = f"{entry['version_parts']['major']}.{entry['version_parts']['minor']}"
        path = Path(entry["path"])
        if minor in _MINORS and not _is_named(found, minor):
            found.append(_readable(parts, path, minor))
    return found


def _is_named(found: list[Path], minor: str) -> bool:
    return any(minor in str(path) for path in found)


def _readable(parts: Parts, python: Path, minor: str) -> Path:
    prefix = timed([python, "-c", "import sys; print(sys.base_prefix)"]).stdout.strip()
    if prefix == "/usr":
        return python
    target = parts.work / f"python{minor}"
    shutil.copytree(prefix, target, symlinks=True, ignore=shutil.ignore_patterns("test", "__pycache__"))
    return target / "bin" / f"python{minor}"


def _versions(builders: tuple[Builder, ...]) -> str:
    said = [
        timed([builder.python, "--version"]).stdout.strip().removeprefix("Python ") for builder in builders
    ]
    return " and ".join(said)
