"""The image in hands that are not ours: docker load, skopeo, umoci, containerd, and a Docker build of it."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from lab.base_arm64 import ensure_two_platform_base
from runbake.image import Digest
from runbake_serving import contract
from tests.e2e.world import World

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    """The container engine."""
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def archive(world: World, wine_run: str, tmp_path: Path) -> Path:
    """The image as a file that no registry has seen."""
    target = tmp_path / "image.tar"
    world.done("containerize", wine_run, "--output", str(target))
    return target


def ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_docker_loads_and_runs_the_archive(engine: docker.DockerClient, archive: Path, wine_run: str) -> None:
    """`docker load` takes the file, and its `provenance` subcommand names the run."""
    with archive.open("rb") as source:
        (image,) = engine.images.load(source)
    try:
        said = engine.containers.run(
            image.id, ["provenance"], remove=True, read_only=True, network_mode="none"
        )
    finally:
        engine.images.remove(image.id, force=True)

    assert json.loads(said)["run"]["id"] == wine_run


@pytest.mark.parametrize("image_format", ["oci", "docker"])
def test_skopeo_copies_and_umoci_unpacks(
    world: World, wine_run: str, tmp_path: Path, image_format: str
) -> None:
    """Two tools of other projects agree with every digest, and unpack the model and the label file."""
    said = world.done(
        "containerize", wine_run, "--repository", f"{world.registry}/skopeo-{image_format}",
        "--format", image_format, "--no-prove", "--allow-unproven",
    )  # fmt: skip
    source = f"docker://{said.out.strip()}"
    ask("skopeo", "copy", "--src-tls-verify=false", source, f"oci:{tmp_path}/copy:it")
    ask("umoci", "unpack", "--image", f"{tmp_path}/copy:it", f"{tmp_path}/bundle")

    root = tmp_path / "bundle" / "rootfs"
    label_file = root / contract.PROVENANCE_FILE.lstrip("/")
    assert json.loads(label_file.read_text())["run"]["id"] == wine_run
    assert (root / contract.MODEL_ROOT.lstrip("/") / "MLmodel").is_file()


def test_containerd_runs_it(archive: Path, wine_run: str) -> None:
    """containerd's own client imports the archive and runs a subcommand."""
    address = next(
        path for path in ("/run/containerd/containerd.sock", "/var/run/docker/containerd/containerd.sock")
        if Path(path).exists()
    )  # fmt: skip
    ctr = ("ctr", "--address", address, "--namespace", "runbake-test")
    ask(*ctr, "images", "import", "--all-platforms", str(archive))
    (name,) = ask(*ctr, "images", "list", "--quiet").split()
    try:
        said = ask(
            *ctr, "run", "--rm", "--read-only", name, f"t-{secrets.token_hex(4)}",
            *("/usr/bin/python3", "-m", "runbake_serving", "provenance"),
        )  # fmt: skip
    finally:
        ask(*ctr, "images", "remove", "--sync", name)

    assert json.loads(said)["run"]["id"] == wine_run


def files_of(engine: docker.DockerClient, image: str) -> dict[str, tuple[str, int, str]]:
    """Every file of an image by path: kind, mode, and hash or link target."""
    container = engine.containers.create(image)
    try:
        raw = io.BytesIO(b"".join(container.export()))
    finally:
        container.remove(force=True)
    found = {}
    with tarfile.open(fileobj=raw) as exported:
        for member in exported:
            content = exported.extractfile(member) if member.isreg() else None
            what = hashlib.sha256(content.read()).hexdigest() if content else member.linkname
            found[member.name] = (member.type.decode(), member.mode, what)
    return found


def test_a_docker_build_of_the_rendered_context_is_the_same_image(
    world: World, engine: docker.DockerClient, wine_run: str, wine_image: str, tmp_path: Path
) -> None:
    """`runbake render`, built by Docker: the same files, and the same configuration."""
    context = tmp_path / "context"
    world.done("render", wine_run, str(context))
    engine.images.pull(wine_image.partition("@")[0], tag=wine_image.partition("@")[2])
    built, _ = engine.images.build(path=str(context), rm=True)
    try:
        ours, theirs = engine.images.get(wine_image), built
        for key in ("Labels", "Entrypoint", "Cmd", "User", "ExposedPorts", "WorkingDir", "StopSignal"):
            assert theirs.attrs["Config"][key] == ours.attrs["Config"][key], key
        assert sorted(theirs.attrs["Config"]["Env"]) == sorted(ours.attrs["Config"]["Env"])
        assert files_of(engine, str(built.id)) == files_of(engine, wine_image)
    finally:
        engine.images.remove(built.id, force=True)


def test_render_keeps_what_is_there(world: World, wine_run: str, tmp_path: Path) -> None:
    """A directory that is not empty is refused and left as it is."""
    (tmp_path / "mine").write_text("x")
    said = world.run("render", wine_run, str(tmp_path))

    assert said.status == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_two_platforms_from_one_host(world: World, wine_run: str) -> None:
    """The same index on every try; the model is stored once; arm64 binaries are arm64."""
    base = ensure_two_platform_base(f"{world.registry}/base-index")
    command = (
        "containerize", wine_run, "--repository", f"{world.registry}/both", "--base", base,
        "--platform", "linux/amd64,linux/arm64",
    )  # fmt: skip
    refused = world.run(*command)
    assert (refused.status, world.tags("both")) == (63, ()), refused.err
    first = world.done(*command, "--allow-unproven")
    report = world.report()
    again = world.done(*command, "--allow-unproven", "--cache", str(world.directory / "fresh-cache"))

    assert first.out == again.out
    assert [platform["platform"] for platform in report["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert [proof["platform"] for proof in report["proofs"]] == ["linux/amd64"]
    layers = [{layer["name"]: layer for layer in platform["layers"]} for platform in report["platforms"]]
    assert layers[0]["model"] == layers[1]["model"]
    assert layers[0]["numpy"]["digest"] != layers[1]["numpy"]["digest"]
    assert machine_of(world, layers[1]["numpy"]["digest"]) == 183, "EM_AARCH64"


def machine_of(world: World, digest: str) -> int:
    """The ELF machine of the first shared object in a layer."""
    blob = world.client().read_blob("both", Digest(digest), 200 << 20)
    with tarfile.open(fileobj=io.BytesIO(blob)) as layer:
        member = next(member for member in layer if member.name.endswith(".so"))
        content = layer.extractfile(member)
        assert content is not None
        return int.from_bytes(content.read(20)[18:20], "little")


def test_the_tools_are_there() -> None:
    """A machine without them fails here, by name, and not by skipping."""
    assert [name for name in ("skopeo", "umoci", "ctr") if shutil.which(name) is None] == []
