"""An image for a platform that this machine is not, unpacked by other people's tools and run under qemu."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.base_arm64 import find_emulator
from runbake_serving.contract import USER_ID

_EMULATOR = "qemu"
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """A root directory and the environment, user and entry point of the image that was unpacked to it."""

    root: Path
    environment: dict[str, str]
    entrypoint: tuple[str, ...]

    def run(self, *arguments: str, body: bytes = b"") -> bytes:
        """What the image's entry point prints when it is given these arguments."""
        return self.execute((*self.entrypoint, *arguments), body=body)

    def execute(self, command: Sequence[str], *, body: bytes = b"") -> bytes:
        """What a command in the image prints; its user is the image's, its root directory is its own."""
        done = subprocess.run(
            ["chroot", f"--userspec={USER_ID}:{USER_ID}", str(self.root), f"/{_EMULATOR}", *command],
            input=body,
            capture_output=True,
            env=self.environment,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout


def emulated(image: str, directory: Path, *, architecture: str) -> Emulated:
    """Fetch that architecture's image of an index with skopeo, unpack it with umoci, put qemu beside it."""
    _done(
        "skopeo", f"--override-arch={architecture}", "copy", "--src-tls-verify=false", f"docker://{image}",
        f"oci:{directory}/copy:it",
    )  # fmt: skip
    _done("umoci", "unpack", "--image", f"{directory}/copy:it", f"{directory}/bundle")
    root = directory / "bundle" / "rootfs"
    # The only file that is not the image's: a static program, so that it starts without libraries of ours.
    (root / _EMULATOR).write_bytes(Path(find_emulator(architecture)).read_bytes())
    (root / _EMULATOR).chmod(0o755)
    config = _config(directory)
    return Emulated(
        root=root,
        environment=dict(line.split("=", 1) for line in config["Env"]),
        entrypoint=tuple(config["Entrypoint"]),
    )


def _config(directory: Path) -> dict[str, list[str]]:
    said = _done("skopeo", "inspect", "--config", f"oci:{directory}/copy:it")
    found: dict[str, list[str]] = json.loads(said)["config"]
    return found


def _done(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
