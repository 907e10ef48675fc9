"""The same run built by unlike builders: every digest must be one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from benchmarks.commands import timed
from benchmarks.containerize import runs
from benchmarks.containerize.ours import Built, containerize
from benchmarks.parts import Parts, fresh_checkout, venv
from benchmarks.table import Row
from lab.base_arm64 import ensure_two_platform_base

_OLDEST_MINOR = 11  # requires-python


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
        Builder(
            name="first",
            user_id=os.getuid(),
            umask="022",
            time_zone="UTC",
            cpus="0",
            python=pythons[0],
        ),
        Builder(
            name="second",
            user_id=65534 if os.getuid() == 0 else os.getuid(),
            umask="077",
            time_zone="Pacific/Kiritimati",
            cpus=f"0-{(os.cpu_count() or 1) - 1}",
            python=pythons[-1],
        ),
    )
    both = ensure_two_platform_base(f"{parts.registry}/base")
    found = [_digests(parts, run_id, builder, both) for builder in builders]
    unlike = len({builder.user_id for builder in builders}) == 2 and len(pythons) > 1 and os.cpu_count() != 1
    pair = _versions(builders)
    names = ("linux/amd64", "linux/amd64 and linux/arm64")
    return [
        Row(
            what=f"one run, two builders, {name}",
            ours=f"`{first.report['digest'][:19]}…`",
            peer=f"`{second.report['digest'][:19]}…`; user, umask, time zone, CPUs, Python {pair}",
            found=_difference(first, second),
            limit="identical",
            reached=first.report["digest"] == second.report["digest"] and unlike,
        )
        for name, first, second in zip(names, *found, strict=True)
    ]


def _difference(first: Built, second: Built) -> str:
    if first.report["digest"] == second.report["digest"]:
        return "identical"
    unlike = [
        layer["name"]
        for one, other in zip(first.report["platforms"], second.report["platforms"], strict=True)
        for layer, counterpart in zip(one["layers"], other["layers"], strict=True)
        if layer["digest"] != counterpart["digest"]
    ]
    return f"different: {', '.join(unlike) or 'configuration'}"


def _digests(parts: Parts, run_id: str, builder: Builder, both: str) -> list[Built]:
    home = parts.work / builder.name
    checkout = fresh_checkout(home / "checkout")
    python = venv(home / "venv", builder.python, checkout)
    wheels = parts.work / "wheels"  # uv's cache: the second builder need not download again
    wheels.mkdir(exist_ok=True)
    for directory in (home, wheels):
        timed(["chown", "-R", str(builder.user_id), directory])
    prefix = ["taskset", "-c", builder.cpus]
    if builder.user_id != os.getuid():
        prefix += ["setpriv", f"--reuid={builder.user_id}", "--clear-groups"]
    prefix += ["sh", "-c", f'umask {builder.umask}; exec "$@"', "sh"]
    environment = {
        **parts.environment,
        "PYTHONPATH": f"{checkout / 'builder'}:{checkout / 'serving_template'}",
        "TZ": builder.time_zone,
        "HOME": str(home),
        "UV_CACHE_DIR": str(wheels),
        # A Python built with --enable-shared was copied away from its library.
        "LD_LIBRARY_PATH": str(builder.python.parent.parent / "lib"),
    }
    found = []
    for name, options in (
        ("one", ()),
        ("two", ("--base", both, "--platform", "linux/amd64,linux/arm64")),
    ):
        built = containerize(
            parts,
            run_id,
            f"same-{builder.name}-{name}",
            *options,
            cache=home / "cache",
            prefix=prefix,
            python=python,
            environment=environment,
        )
        found.append(built)
    shutil.rmtree(home)
    return found


def _pythons(parts: Parts) -> list[Path]:
    """The oldest and the newest Python of this machine that fit, where every user may read them."""
    listed = timed([find_uv_bin(), "python", "list", "--only-installed", "--output-format", "json"]).stdout
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    paths = [Path(entry["path"]) for entry in json.loads(listed)] + sorted(
        pyenv.glob("versions/*/bin/python3.*")
    )
    fitting = {minor: path for path in paths if (minor := _minor(path)) >= _OLDEST_MINOR}
    chosen = sorted({min(fitting), max(fitting)})
    return [_readable(parts, fitting[minor], f"3.{minor}") for minor in chosen]


def _minor(python: Path) -> int:
    """Its minor version by its name; 0 for a name that has none."""
    minor = python.name.removeprefix("python3.")
    return int(minor) if minor.isdigit() else 0


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
