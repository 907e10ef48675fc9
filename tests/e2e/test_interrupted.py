"""Interrupted while a server stalls, and damaged caches: soon ended, told what was done, continued later."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pandas as pd
import pytest
from sklearn.datasets import load_wine

from lab.engine import engine
from runbake.runtime.engine import MARK_LABEL, PROOF_REPOSITORY
from tests.e2e.world import World

NO_PROOF = ("--no-prove", "--allow-unproven", "--no-bytecode")
SOON_S = 15.0
"""One second is what is promised; a busy machine may take longer to start an exit."""


class StallingProxy:
    """Forwards connections to a server; a request that begins with `pattern` is held for ever once armed."""

    def __init__(self, target: tuple[str, int], pattern: bytes) -> None:
        self._target, self._pattern = target, pattern
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.armed, self.stalled = threading.Event(), threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Drop every connection."""
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for source, sink, watched in ((client, server, True), (server, client, False)):
                    arguments = (source, sink, watched)
                    threading.Thread(target=self._forward, args=arguments, daemon=True).start()
        except OSError:
            return

    def _forward(self, source: socket.socket, sink: socket.socket, watched: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if watched and self.armed.is_set() and self._pattern in data:
                    self.stalled.set()
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def stalling(address: str, pattern: bytes) -> Iterator[StallingProxy]:
    host, _, port = address.rpartition(":")
    proxy = StallingProxy((host, int(port)), pattern)
    proxy.armed.set()
    try:
        yield proxy
    finally:
        proxy.close()


def ended(
    process: subprocess.Popen[str], proxy: StallingProxy, how: signal.Signals
) -> tuple[int, str, float]:
    """Signal a command that waits for the proxy: its status, what it said, the seconds until its end."""
    try:
        assert proxy.stalled.wait(120), "nothing was asked for"
        begun = time.monotonic()
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        return process.returncode, err, time.monotonic() - begun
    finally:
        process.kill()
        process.communicate()


ENDS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]


@pytest.mark.parametrize(("how", "status", "word"), ENDS)
def test_ended_while_mlflow_stalls(
    world: World, wine_run: str, how: signal.Signals, status: int, word: str
) -> None:
    """A download that hangs holds nobody: the command ends at once, and leaves nothing in the cache."""
    mlflow, cache = urlsplit(world.mlflow_uri), world.directory / f"stalled-{word}"
    command = ("containerize", wine_run, "--repository", f"{world.registry}/stalled-{word}", *NO_PROOF)
    with stalling(mlflow.netloc, b"/model.skops HTTP/1.1") as proxy:
        uri = f"http://{proxy.address}"
        process = world.popen(*command, "--tracking-uri", uri, "--cache", str(cache))
        code, err, seconds = ended(process, proxy, how)

    assert (code, seconds < SOON_S) == (status, True), (seconds, err)
    assert f"error: {word}\n" in err
    # A stage that ends in a thread of its own may still say so after the last word.
    told = [line for line in err.splitlines() if not line.startswith("  ")]
    assert told[-1].startswith("try:   run the same command again")
    assert "Traceback" not in err
    assert not list(cache.glob("tmp-*"))
    assert world.tags(f"stalled-{word}") == ()


def test_interrupted_while_the_registry_stalls(world: World, wine_run: str) -> None:
    """An upload that hangs holds nobody, nothing is tagged, and the same command then finishes."""
    with stalling(world.registry, b"PUT /v2/") as proxy:
        command = (
            "containerize", wine_run, "--repository", f"{proxy.address}/stalled-push", "--tag", "now",
            *NO_PROOF,
        )  # fmt: skip
        code, err, seconds = ended(world.popen(*command), proxy, signal.SIGINT)
        assert (code, seconds < SOON_S) == (130, True), (seconds, err)
        assert world.tags("stalled-push") == ()

        proxy.armed.clear()
        world.done(*command)
    assert world.tags("stalled-push") == ("now",)


def test_ended_between_push_and_tag_says_so(world: World, wine_run: str) -> None:
    """The image is there by digest, and no tag points to it."""
    with stalling(world.registry, b"PUT /v2/late/manifests/now") as proxy:
        command = ("containerize", wine_run, "--repository", f"{proxy.address}/late", "--tag", "now")
        code, err, _ = ended(world.popen(*command, *NO_PROOF), proxy, signal.SIGTERM)

    assert code == 143
    assert f"done:  the image is in {proxy.address}/late@sha256:" in err
    assert "done:  no tag was set\n" in err
    assert world.tags("late") == ()


def test_a_damaged_layer_in_the_cache_is_made_again(world: World, wine_run: str) -> None:
    """A blob that lost its bytes and kept its size costs a warning and a little time, and is in no output."""
    cache = world.directory / "damaged"
    common = (*NO_PROOF, "--cache", str(cache))
    first = world.done("containerize", wine_run, "--repository", f"{world.registry}/whole", *common)
    digests = [layer["digest"] for layer in world.report()["platforms"][0]["layers"]]
    for blob in (cache / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" in digests:
            with blob.open("r+b") as damaged:
                damaged.write(b"damage")

    output = world.directory / "healed.tar"
    again = world.done(
        "containerize", wine_run, "--repository", f"{world.registry}/again", "--output", str(output), *common
    )

    assert "layers in the cache are damaged, and are made again" in again.err
    assert again.out.partition("@")[2] == first.out.partition("@")[2]
    with tarfile.open(output) as archive:
        for digest in digests:
            layer = archive.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
            assert layer is not None
            assert f"sha256:{hashlib.file_digest(layer, 'sha256').hexdigest()}" == digest


def test_what_a_killed_proof_left_in_the_engine_is_gone_after_the_next(world: World, wine_image: str) -> None:
    """kill -9 while containers run: the next proof removes them and their tag before it makes its own."""
    marks = world.directory / "cache" / "marks"
    client = engine()

    def made() -> list[str]:
        left = {path.name for path in marks.glob("*")}
        ours = client.containers.list(all=True, filters={"label": MARK_LABEL}, ignore_removed=True)
        return [str(each.id) for each in ours if each.labels[MARK_LABEL] in left]

    with world.popen("prove", wine_image) as process:
        give_up_at = time.monotonic() + 120
        while not (containers := made()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up_at, "no container was made"
            time.sleep(0.02)
        process.kill()
    containers = made() or containers
    (mark,) = (path.name for path in marks.glob("*"))

    world.done("prove", wine_image)

    assert list(marks.glob("*")) == []
    assert not {each["Id"] for each in client.api.containers(all=True)}.intersection(containers)
    tags = [tag for image in client.images.list() for tag in image.tags]
    assert f"{PROOF_REPOSITORY}:{mark}" not in tags


def test_what_a_killed_batch_run_left_is_gone_after_the_next_command(world: World, wine_image: str) -> None:
    """kill -9 of a job: the container, which may hold credentials, is removed by whatever uses the engine."""
    marks, client = world.directory / "killed" / "marks", engine()
    rows = world.directory / "many.csv"
    frame = load_wine(as_frame=True).data
    pd.concat([frame] * 3000).to_csv(rows, index=False)
    cache = ("--cache", str(marks.parent))
    job = ("--input", str(rows), "--output", str(world.directory / "many"), "--output-format", "csv")

    def made() -> list[str]:
        names = [path.name for path in marks.glob("*")]
        found = [
            client.containers.list(all=True, filters={"label": f"{MARK_LABEL}={name}"}, ignore_removed=True)
            for name in names
        ]
        return [str(each.id) for several in found for each in several]

    with world.popen("batch", "run", wine_image, *job, *cache) as process:
        give_up_at = time.monotonic() + 120
        while not (containers := made()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up_at, "no container was made"
            time.sleep(0.02)
        process.kill()
    there = {each["Id"] for each in client.api.containers(all=True)}
    assert there.issuperset(containers)

    absent = f"{world.registry}/absent@sha256:{'0' * 64}"
    assert world.run("run", absent, env={"RUNBAKE_CACHE": str(marks.parent)}).status == 53

    assert list(marks.glob("*")) == []
    assert not {each["Id"] for each in client.api.containers(all=True)}.intersection(containers)
