"""The base image, built by the engine and pushed to a real registry."""

from __future__ import annotations

import io
import json
import tarfile

import docker
import pytest
import requests

from lab.base import ensure_base
from lab.base_arm64 import DOCKER_MANIFEST, INDEX, MANIFEST, ensure_two_platform_base
from lab.engine import engine
from runbake_serving.contract import USER_ID

pytestmark = pytest.mark.engine

MAX_BYTES = 70 * 10**6

EVERYTHING = """
import bz2, ctypes, hashlib, json, lzma, multiprocessing, os, sqlite3, ssl, sys, zlib, zoneinfo
ctypes.CDLL("libgomp.so.1")
ctypes.CDLL("libstdc++.so.6")
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "python": list(sys.version_info[:2]),
    "certificates": len(ssl.create_default_context().get_ca_certs()) > 50,
    "zone": str(zoneinfo.ZoneInfo("Europe/Berlin")),
    "sqlite": sqlite3.connect(":memory:").execute("select 1").fetchone(),
    "pip": __import__("importlib.util").util.find_spec("pip") is not None,
    "encoding": sys.stdout.encoding,
}))
"""


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    """The engine."""
    return engine()


@pytest.fixture(scope="module")
def base(registry_address: str) -> str:
    """The base in the registry, by digest."""
    return ensure_base(f"{registry_address}/base")


@pytest.fixture(scope="module")
def files(
    base: str, client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tarfile.TarInfo]:
    """Everything in the image's file system, by path."""
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    container = client.containers.create(base)
    try:
        with archive.open("wb") as file:
            file.writelines(client.api.export(str(container.id)))
    finally:
        container.remove()
    with tarfile.open(archive) as opened:
        found = {member.name: member for member in opened}
    archive.unlink()
    return found


def test_the_reference_is_pinned_and_stable(base: str, registry_address: str) -> None:
    """Asking again gives the same digest, and sends nothing that is there already."""
    repository, _, digest = base.partition("@")
    assert repository == f"{registry_address}/base"
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    assert ensure_base(f"{registry_address}/base") == base


def test_it_is_one_small_layer_and_not_root(
    base: str, client: docker.DockerClient, files: dict[str, tarfile.TarInfo]
) -> None:
    """One layer, at most 70 MB of files, a numeric user."""
    image = client.images.pull(base)
    assert len(image.attrs["RootFS"]["Layers"]) == 1
    assert image.attrs["Config"]["User"] == f"{USER_ID}:{USER_ID}"
    assert sum(member.size for member in files.values()) <= MAX_BYTES


def test_scanners_and_licences_find_what_they_need(files: dict[str, tarfile.TarInfo]) -> None:
    """The package database and the licences stay; caches, manuals, set-user-id bits and mirrors do not."""
    assert files["var/lib/dpkg/status"].size > 10_000
    assert "usr/share/doc/libc6/copyright" in files
    unwanted = ("usr/share/man/", "var/lib/apt/lists/", "var/cache/apt/", "usr/share/locale/")
    assert [name for name in files if name.startswith(unwanted) and files[name].isfile()] == []
    assert [name for name, member in files.items() if member.isfile() and member.mode & 0o6000] == []


def test_nothing_is_left_that_installs(base: str, client: docker.DockerClient) -> None:
    """No package manager and no perl; bash, and busybox for people, and the package list says the same."""
    script = (
        "for program in apt-get perl; do command -v $program >/dev/null && echo $program; done;"
        "for program in bash sh ps vi wget ls; do command -v $program >/dev/null || echo no $program; done;"
        "grep -cE '^Package: (apt|dpkg|perl-base|coreutils|passwd|login)$' /var/lib/dpkg/status; id -u"
    )
    printed = client.containers.run(base, ["sh", "-c", script], remove=True, network_mode="none")
    assert printed.decode().split() == ["0", str(USER_ID)]


def test_python_is_whole_in_a_locked_down_container(base: str, client: docker.DockerClient) -> None:
    """Read-only, without a network and without root: TLS, sqlite, ctypes, OpenMP and time zones work."""
    printed = client.containers.run(
        base, ["python3", "-c", EVERYTHING], remove=True, read_only=True, network_mode="none"
    )
    answer = json.loads(printed)
    version = answer.pop("python")
    assert version[0] == 3
    assert version[1] >= 11
    assert answer == {
        "uid": USER_ID,
        "gid": USER_ID,
        "certificates": True,
        "zone": "Europe/Berlin",
        "sqlite": [1],
        "pip": False,
        "encoding": "utf-8",
    }


def test_the_two_platform_base_is_an_index_of_both(registry_address: str) -> None:
    """Tests get one reference under which both platforms are found, each with its own Python and our user."""
    reference = ensure_two_platform_base(f"{registry_address}/base-both")
    api = f"http://{registry_address}/v2/base-both"
    accept = {"Accept": f"{INDEX}, {MANIFEST}, {DOCKER_MANIFEST}"}
    index = requests.get(f"{api}/manifests/{reference.partition('@')[2]}", headers=accept, timeout=10).json()
    manifests = {entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]}
    assert sorted(manifests) == ["amd64", "arm64"]
    for architecture, digest in manifests.items():
        manifest = requests.get(f"{api}/manifests/{digest}", headers=accept, timeout=10).json()
        config = requests.get(f"{api}/blobs/{manifest['config']['digest']}", timeout=10).json()
        assert config["architecture"] == architecture
        assert config["config"]["User"] == f"{USER_ID}:{USER_ID}"
        layer = requests.get(f"{api}/blobs/{manifest['layers'][0]['digest']}", timeout=60).content
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            names = {name.removeprefix("./") for name in archive.getnames()}
        assert "usr/bin/python3" in names
        assert any(name.startswith("usr/lib/ld-linux-") for name in names) or "lib64" in names
