"""The base's own interpreter, runnable on this host: through its own loader, a sibling's, or an emulator."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from runbake.base.base import Base
from runbake.base.facts import library_directories
from runbake.base.read import read_base, unpacked_root
from runbake.base.reader import BaseReader
from runbake.errors import BasePlatformMissing, BytecodeUnavailable

_LOADERS = {
    "linux/amd64": ("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-x86-64.so.2"),
    "linux/arm64": ("lib/ld-linux-aarch64.so.1", "lib64/ld-linux-aarch64.so.1"),
}
_QEMU = {"linux/amd64": "qemu-x86_64", "linux/arm64": "qemu-aarch64"}
_PLATFORMS = {
    ("linux", "x86_64"): "linux/amd64",
    ("linux", "amd64"): "linux/amd64",
    ("linux", "aarch64"): "linux/arm64",
    ("linux", "arm64"): "linux/arm64",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A command that is a Python of an exact release; arguments follow it.

    `environment` is all of the environment it is to run in. `version` is "3.11.2".
    """

    command: tuple[str, ...]
    version: str
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """This machine: `system` and `machine` as `platform.uname()` spells them, and PATH for emulators."""

    system: str
    machine: str
    search_path: str

    @property
    def platform(self) -> str:
        """ "linux/amd64", or "" where no image runs without an engine."""
        return _PLATFORMS.get((self.system.lower(), self.machine.lower()), "")


def find_interpreter(base: Base, reader: BaseReader, cache: Path, host: Host) -> Interpreter:
    """An interpreter that compiles what the base's own would, runnable here.

    Bytecode does not depend on the machine, so the host's platform of the same index will do if its Python
    is the same release; else an emulator (qemu-user) runs the base's own.

    Raises:
        BytecodeUnavailable: neither is there.
    """
    if base.platform == host.platform:
        return interpreter_in(unpacked_root(base, reader, cache), base)
    sibling = _sibling(base, reader, cache, host.platform)
    if sibling is not None and sibling.facts.python_version == base.facts.python_version:
        return interpreter_in(unpacked_root(sibling, reader, cache), sibling)
    emulator = _emulator(base.platform, host)
    if emulator:
        return interpreter_in(unpacked_root(base, reader, cache), base, prefix=(emulator,))
    raise BytecodeUnavailable(
        f"the Python {base.facts.python_version} of {base.asked} ({base.platform}) cannot run on "
        f"{host.system} {host.machine}, and the image has no equal Python for this machine",
        hint="install qemu-user-static, build on such a machine, or leave bytecode out: --no-bytecode",
    )


def interpreter_in(root: Path, base: Base, *, prefix: tuple[str, ...] = ()) -> Interpreter:
    """The interpreter of an unpacked base, started by the base's own loader on the base's own libraries.

    Raises:
        BytecodeUnavailable: the base has no loader where its platform keeps it.
    """
    root = root.resolve()
    loaders = [root / path for path in _LOADERS.get(base.platform, ()) if (root / path).is_file()]
    if not loaders:
        raise BytecodeUnavailable(
            f"the base image {base.asked} has no dynamic loader for {base.platform}",
            hint="build without bytecode: --no-bytecode",
        )
    libraries = ":".join(map(str, library_directories(root)))
    python = root / base.facts.python_path.lstrip("/")
    return Interpreter(
        command=(
            *prefix,
            str(loaders[0].resolve()),
            "--inhibit-cache",
            "--library-path",
            libraries,
            str(python),
        ),
        version=base.facts.python_version,
        # The interpreter would otherwise look for its library where it lies in the image.
        environment=(("PYTHONHOME", str(python.parent.parent)), ("PATH", "")),
    )


def _sibling(base: Base, reader: BaseReader, cache: Path, platform: str) -> Base | None:
    if base.index_digest is None or not platform:
        return None
    try:
        return read_base(reader, base.name, base.index_digest, (platform,), cache, asked=base.asked)[0]
    except BasePlatformMissing:
        return None


def _emulator(platform: str, host: Host) -> str:
    name = _QEMU.get(platform, "")
    if host.system.lower() != "linux" or not name:
        return ""
    for candidate in (name, f"{name}-static"):
        if found := shutil.which(candidate, path=host.search_path):
            return found
    return ""
