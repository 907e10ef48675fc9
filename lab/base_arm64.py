"""A base for two platforms, for tests that assemble images on one host for both.

The platform that is not this machine's is only unpacked, its packages' scripts are not run. That is enough to
assemble an image, and for qemu to run it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

import requests

from lab.base import ensure_base
from lab.engine import engine
from lab.packages import ensure_packages, find_program
from lab.source import debootstrap
from lab.state import LAB_DIRECTORY
from lab.story import Story
from runbake_serving.contract import USER_ID

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
EMULATORS = {"qemu-user-static": "qemu-aarch64-static"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_OTHER = {"amd64": "arm64", "arm64": "amd64"}
_SUITE = "bookworm"
_UNWANTED = ("./usr/share/man/", "./usr/share/doc/", "./usr/share/locale/", "./usr/share/info/")
_USERS = {
    "./etc/passwd": f"root:x:0:0:root:/root:/bin/sh\nrunbake:x:{USER_ID}:{USER_ID}::/:/bin/false\n",
    "./etc/group": f"root:x:0:\nrunbake:x:{USER_ID}:\n",
}
_TIMEOUT_S = 120


def ensure_two_platform_base(repository: str, *, story: Story | None = None) -> str:
    """An index in `repository` (HOST:PORT/NAME) for linux/amd64 and linux/arm64, by digest.

    Raises:
        LabError: see `lab.base.ensure_base`; and there is no mmdebstrap.
        requests.RequestException: the registry refused.
    """
    told = story or Story()
    native = ensure_base(repository, story=told)
    architecture = str(engine().version()["Arch"])
    host, _, name = repository.partition("/")
    api = f"http://{host}/v2/{name}"
    layer = _other_layer(_OTHER[architecture], told)
    with told.step("base", f"push linux/{_OTHER[architecture]} to {repository}"):
        other = _push_image(api, layer, _OTHER[architecture])
        native_body = _get_manifest(api, native.partition("@")[2])
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {**_descriptor(native_body, DOCKER_MANIFEST), "platform": _platform(architecture)},
                {**_descriptor(other, MANIFEST), "platform": _platform(_OTHER[architecture])},
            ],
        }
        return f"{repository}@{_put_manifest(api, json.dumps(index).encode(), INDEX)}"


def find_emulator(architecture: str, *, story: Story | None = None) -> str:
    """The path of a static program that runs that architecture's programs; installed when it is missing.

    Raises:
        LabError: it cannot be installed here.
    """
    ensure_packages(EMULATORS, log=LAB_DIRECTORY / "apt.log", story=story or Story())
    return str(find_program(f"qemu-{_MACHINES[architecture]}-static"))


def _other_layer(architecture: str, story: Story) -> bytes:
    """The gzipped layer of that architecture; kept for the next time."""
    kept = LAB_DIRECTORY / f"base-{_SUITE}-{architecture}.tar.gz"
    if not kept.exists():
        with (
            story.step("base", f"unpack packages for linux/{architecture}"),
            tempfile.TemporaryDirectory() as directory,
        ):
            archive = Path(directory) / "root.tar"
            debootstrap(archive, _SUITE, "--variant=extract", f"--architectures={architecture}")
            temporary = kept.with_suffix(f".{id(archive)}.tmp")
            temporary.write_bytes(gzip.compress(_slimmed(archive), compresslevel=1, mtime=0))
            temporary.replace(kept)
    return kept.read_bytes()


def _slimmed(archive: Path) -> bytes:
    """The archive without manuals, with the users that a script would have made, with fixed times."""
    out = io.BytesIO()
    with tarfile.open(archive) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            if member.name.startswith(_UNWANTED) or member.name in _USERS or member.isdev():
                continue
            member.mtime = 0
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
        for path, text in _USERS.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            target.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def _push_image(api: str, layer: bytes, architecture: str) -> bytes:
    """Push layer, configuration and manifest; the manifest."""
    config = json.dumps(
        {
            **_platform(architecture),
            "config": {
                "User": f"{USER_ID}:{USER_ID}",
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
                "Cmd": ["python3"],
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer))]},
        }
    ).encode()
    _push_blob(api, layer)
    _push_blob(api, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config, CONFIG),
        "layers": [_descriptor(layer, LAYER)],
    }
    body = json.dumps(manifest).encode()
    _put_manifest(api, body, MANIFEST)
    return body


def _push_blob(api: str, data: bytes) -> None:
    """Not by `runbake.registry`: what is tested must not make what it is tested with."""
    started = requests.post(f"{api}/blobs/uploads/", timeout=_TIMEOUT_S)
    started.raise_for_status()
    location = started.headers["Location"]
    joint = "&" if "?" in location else "?"
    requests.put(f"{location}{joint}digest={_digest(data)}", data=data, timeout=_TIMEOUT_S).raise_for_status()


def _put_manifest(api: str, body: bytes, media_type: str) -> str:
    digest = _digest(body)
    requests.put(
        f"{api}/manifests/{digest}", data=body, headers={"Content-Type": media_type}, timeout=_TIMEOUT_S
    ).raise_for_status()
    return digest


def _get_manifest(api: str, digest: str) -> bytes:
    answer = requests.get(
        f"{api}/manifests/{digest}", headers={"Accept": DOCKER_MANIFEST}, timeout=_TIMEOUT_S
    )
    answer.raise_for_status()
    return answer.content


def _descriptor(data: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _platform(architecture: str) -> dict[str, str]:
    return {"os": "linux", "architecture": architecture}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
