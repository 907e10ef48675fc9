"""What people do today: an ordinary Dockerfile, `docker build` and `docker push`; and plain curl."""

from __future__ import annotations

import os
import shutil
import ssl
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pip
from docker.errors import ImageNotFound

from benchmarks.commands import timed
from benchmarks.parts import Parts

_ORDINARY = """\
FROM {base}
USER 0
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1
COPY requirements.txt /requirements.txt
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca \\
    PIP_CONFIG_FILE=/run/secrets/pip python3 -m pip install -q -r /requirements.txt
COPY model /opt/model
USER 10001
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A prepared `docker`: `base` is the same base with pip in it, in the engine already."""

    parts: Parts
    docker: str
    base: str

    def build_and_push(self, context: Path, repository: str, *, cached: bool) -> tuple[str, float, float]:
        """The image's name, and the seconds that `docker build` and `docker push` took."""
        tag = f"{self.parts.registry}/{repository}"
        built = timed(
            [
                *(self.docker, "build", "-q", "--network", "host", "-t", tag),
                *("--secret", f"id=pip,src={self.parts.work / 'pip.conf'}"),
                *("--secret", f"id=ca,src={_ca_file()}"),
                *(() if cached else ("--no-cache",)),
                context,
            ],
            environment={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        pushed = timed([self.docker, "push", "-q", tag])
        return tag, built.seconds, pushed.seconds

    def context(self, name: str, model: Path, requirements: list[str]) -> Path:
        """A build context: the Dockerfile, the model's files, and these requirements."""
        directory = self.parts.work / name
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(model, directory / "model", copy_function=_hard_link)
        (directory / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
        (directory / "Dockerfile").write_text(_ORDINARY.format(base=self.base))
        return directory


def _hard_link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


@contextmanager
def prepared(parts: Parts) -> Iterator[Peer]:
    """The base has no pip: the peer gets it before the clock starts. Its images are removed at the end."""
    base = "runbake-benchmark/base-with-pip"
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(Path(pip.__file__).parent, "pip", filter=_without_caches)
        recipe = f"FROM {parts.base}\nUSER 0\nCOPY pip /usr/lib/python3/dist-packages/pip\n".encode()
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(recipe)
        tar.addfile(info, BytesIO(recipe))
    packed.seek(0)
    parts.engine.images.build(fileobj=packed, custom_context=True, tag=base, rm=True)
    _write_pip_conf(parts.work / "pip.conf")
    try:
        yield Peer(parts=parts, docker=_docker_with_buildkit(parts), base=base)
    finally:
        _remove_images(parts, base)


def _remove_images(parts: Parts, base: str) -> None:
    for image in parts.engine.images.list():
        # What was pulled by digest has no tag.
        for name in (*image.tags, *image.attrs.get("RepoDigests", ())):
            if name.startswith(f"{parts.registry}/") or name == f"{base}:latest":
                with suppress(ImageNotFound):  # its last tag took its digests along
                    parts.engine.images.remove(name, force=True)


def _without_caches(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in info.name else info


def _docker_with_buildkit(parts: Parts) -> str:
    """Of several `docker` commands the one of the engine's release: newer ones need a plugin for BuildKit."""
    release = str(parts.engine.version()["Version"])
    found = [path for place in os.get_exec_path() if (path := Path(place, "docker")).exists()]
    same = [path for path in found if release in timed([path, "--version"]).stdout]
    return str((same or found)[0])


def _write_pip_conf(path: Path) -> None:
    # Index and CA of this machine reach pip as build secrets: no layer and no history holds them.
    lines = ["[global]", "cert = /run/secrets/ca", "disable-pip-version-check = true", "timeout = 180"]
    if index := os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_INDEX_URL"):
        lines.append(f"index-url = {index}")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def _ca_file() -> str:
    named = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
    paths = ssl.get_default_verify_paths()
    return named or paths.cafile or paths.openssl_cafile


def curl_seconds(parts: Parts, weights: Path, repository: str) -> float:
    """Download a file from MLflow, hash it and upload it to the registry, one after the other."""
    path = weights.relative_to(parts.artifacts).as_posix()
    kept = parts.work / "curl.bin"
    script = f"""set -eu
curl -sSf -o {kept} {parts.mlflow}/api/2.0/mlflow-artifacts/artifacts/{path}
digest=$(sha256sum {kept} | cut -d ' ' -f 1)
place=$(curl -sSfi -X POST http://{parts.registry}/v2/{repository}/blobs/uploads/ |
    tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
curl -sSf -o {kept}.answer -H 'Content-Type: application/octet-stream' -T {kept} \\
    "$place&digest=sha256:$digest"
"""
    done = timed(["sh", "-c", script])
    kept.unlink()
    return done.seconds
