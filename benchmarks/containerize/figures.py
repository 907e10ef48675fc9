"""The figures, one function each: what runbake does and what is beside it, in turn, on the same servers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import requests

from benchmarks.commands import timed
from benchmarks.containerize import runs
from benchmarks.containerize.ours import Built, containerize
from benchmarks.containerize.peer import Peer, curl_seconds
from benchmarks.containerize.runs import Logged
from benchmarks.parts import Parts, free_bytes
from benchmarks.table import Row, megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured; the limits hold for `FULL` only."""

    repeats: int
    weights_bytes: int
    huge_bytes: int


FULL = Sizes(repeats=3, weights_bytes=500_000_000, huge_bytes=5_000_000_000)
QUICK = Sizes(repeats=1, weights_bytes=20_000_000, huge_bytes=200_000_000)


def _seconds(values: Sequence[float]) -> str:
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f} s{spread}"


def same_environment(parts: Parts) -> list[str]:
    """The wheels of our image as pins: what the peer installs when both shall hold the same."""
    built = containerize(parts, runs.log(parts).run_id, "warm", cache=parts.work / "cache")
    history = _history(parts, "warm", built.report["digest"])
    told = [entry["created_by"].removeprefix("runbake: ") for entry in history]
    pairs = [pair for line in told for part in line.split(", ") if len(pair := part.split(" ")) == 2]
    pins = sorted(f"{name}=={release}" for name, release in pairs if release[0].isdigit())
    if not any(pin.startswith("scikit-learn==") for pin in pins):
        raise RuntimeError(f"the image's history does not name its wheels: {told}")
    return pins


def _manifest(parts: Parts, repository: str, digest: str) -> Any:
    """The image's manifest, as the registry has it."""
    address = f"http://{parts.registry}/v2/{repository}/manifests/{digest}"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return requests.get(address, headers=accept, timeout=30).json()


def _history(parts: Parts, repository: str, digest: str) -> list[dict[str, str]]:
    config = _manifest(parts, repository, digest)["config"]["digest"]
    history: list[dict[str, str]] = requests.get(
        f"http://{parts.registry}/v2/{repository}/blobs/{config}", timeout=30
    ).json()["history"]
    return history


def retrained_large(parts: Parts, peer: Peer, pins: list[str], sizes: Sizes) -> list[Row]:
    """New weights in an unchanged environment: beside curl, gzip, and docker with a warm cache."""
    cache = parts.work / "cache"
    curl, stored, gzipped, docker = [], [], [], []
    warm = runs.log(parts)
    containerize(parts, warm.run_id, "large", cache=cache)
    peer.build_and_push(peer.context("context-large", warm.model, pins), "large-docker", cached=True)
    for _ in range(sizes.repeats):
        logged = runs.log(parts, weights_bytes=sizes.weights_bytes)
        curl.append(curl_seconds(parts, logged.weights, "large-curl"))
        stored.append(containerize(parts, logged.run_id, "large", cache=cache).done.seconds)
        options = ("--model-layer", "gzip", "--tag", f"gzip-{logged.run_id}")
        gzipped.append(containerize(parts, logged.run_id, "large", *options, cache=cache).done.seconds)
        context = peer.context("context-large", logged.model, pins)
        docker.append(sum(peer.build_and_push(context, "large-docker", cached=True)[1:]))
        _forget_large_blobs(parts, context)
    bound = 1.5 * median(curl) + 3
    times = median(docker) / median(stored)
    what = f"retrained model, {megabytes(sizes.weights_bytes)} of new weights, same environment"
    return [
        Row(
            what=what,
            ours=_seconds(stored),
            peer=f"curl + sha256sum + curl: {_seconds(curl)}",
            found=f"{(median(stored) - 3) / median(curl):.2f}x + 3 s",
            limit=f"1.5x + 3 s = {bound:.1f} s",
            reached=median(stored) <= bound,
        ),
        Row(
            what="the same beside docker, dependencies cached",
            ours=_seconds(stored),
            peer=f"docker build + push: {_seconds(docker)}",
            found=f"{times:.1f}x faster",
            limit="3x faster",
            reached=times >= 3,
        ),
        Row(
            what="the same with `--model-layer gzip`",
            ours=_seconds(gzipped),
            peer="",
            found=f"{median(gzipped) / median(stored):.2f}x the stored layer's time",
            limit="",
            reached=None,
        ),
    ]


def _forget_large_blobs(parts: Parts, *directories: Path) -> None:
    """Nothing measured later may profit from what was sent, and disks end."""
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    for blob in (parts.work / "cache" / "blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size > 10 * _LARGEST_WHEEL_BYTES:
            blob.unlink()


_LARGEST_WHEEL_BYTES = 40_000_000


def retrained_small(parts: Parts, sizes: Sizes) -> list[Row]:
    """A small new model in an unchanged environment: what is sent, and how long it takes."""
    cache = parts.work / "cache"
    before = containerize(parts, runs.log(parts).run_id, "small", cache=cache)
    builds = []
    for _ in range(2 * sizes.repeats - 1):
        builds.append(containerize(parts, runs.log(parts).run_id, "small", cache=cache))
    seconds = [built.done.seconds for built in builds]
    sent, expected = builds[-1].sent_bytes, _own_bytes(parts, "small", builds[-1])
    new = sorted(
        name
        for name, layer in builds[-1].layers.items()
        if layer["digest"] not in {other["digest"] for other in before.layers.values()}
    )
    only_ours = sent == expected and new == ["model", "provenance"]
    return [
        Row(
            what="retrained small model, same environment: time",
            ours=_seconds(seconds),
            peer="",
            found=_seconds(seconds),
            limit="4 s",
            reached=median(seconds) <= 4,
        ),
        Row(
            what="the same: bytes sent",
            ours=f"{sent / 1e3:.1f} kB in {builds[-1].report['transfer']['sent']} blobs",
            peer=f"model, label file and configuration: {expected / 1e3:.1f} kB",
            found=f"new layers: {', '.join(new)}",
            limit="these and the manifest only",
            reached=only_ours,
        ),
    ]


def _own_bytes(parts: Parts, repository: str, built: Built) -> int:
    config = _manifest(parts, repository, built.report["digest"])["config"]["size"]
    return int(built.layers["model"]["size"]) + int(built.layers["provenance"]["size"]) + int(config)


def new_environment(parts: Parts, peer: Peer, pins: list[str], sizes: Sizes) -> list[Row]:
    """Nothing kept but uv's wheels: an empty cache and an empty repository, beside --no-cache."""
    ours: list[float] = []
    same: list[float] = []
    untouched: list[float] = []
    for position in range(sizes.repeats):
        logged = runs.log(parts)
        cache = parts.work / f"cache-new-{position}"
        ours.append(containerize(parts, logged.run_id, f"new-{position}", cache=cache).done.seconds)
        shutil.rmtree(cache)
        same.append(_built_from_nothing(peer, logged, pins, f"same-{position}"))
        if position == 0:  # the contrast is large and the wait long
            untouched.append(_built_from_nothing(peer, logged, runs.requirements(), "untouched"))
    return [
        _new_environment_row("the same wheels", ours, same, limit="2x faster"),
        _new_environment_row("the model's untouched requirements", ours, untouched, limit=""),
    ]


def _built_from_nothing(peer: Peer, logged: Logged, requirements: list[str], repository: str) -> float:
    context = peer.context("context-new", logged.model, requirements)
    return sum(peer.build_and_push(context, repository, cached=False)[1:])


def _new_environment_row(what: str, ours: list[float], theirs: list[float], *, limit: str) -> Row:
    times = median(theirs) / median(ours)
    return Row(
        what=f"new environment, wheels in uv's cache; docker installs {what}",
        ours=_seconds(ours),
        peer=f"docker build --no-cache + push: {_seconds(theirs)}",
        found=f"{times:.1f}x faster",
        limit=limit,
        reached=times >= 2 if limit else None,
    )


def bumped_dependency(parts: Parts) -> list[Row]:
    """Another release of one pure-Python dependency: what a build sends then."""
    cache = parts.work / "cache"
    sent = 0
    for release in ("3.5.0", "3.6.0"):
        wanted = runs.requirements(threadpoolctl=release)
        built = containerize(parts, runs.log(parts, pip_requirements=wanted).run_id, "bumped", cache=cache)
        sent = built.sent_bytes
    buckets = [layer["size"] for name, layer in built.layers.items() if name.startswith("wheels-")]
    own = _own_bytes(parts, "bumped", built)
    return [
        Row(
            what="threadpoolctl 3.5.0 to 3.6.0 (pure Python)",
            ours=megabytes(sent),
            peer=f"at worst, in the fullest bucket: {megabytes(max(buckets) + own)}",
            found=f"{megabytes(sent)} sent",
            limit="15 MB",
            reached=max(sent, max(buckets) + own) <= 15e6,
        )
    ]


def peak_memory(parts: Parts, sizes: Sizes) -> list[Row]:
    """The most memory that all processes of one build have at one moment, for a small and a huge model."""
    if free_bytes(parts) < 6 * sizes.huge_bytes:
        raise RuntimeError(f"{megabytes(6 * sizes.huge_bytes)} of free disk are needed for the huge model")
    small, huge = runs.log(parts), runs.log(parts)
    runs.enlarge(huge, sizes.huge_bytes)
    rows = [
        _memory_row(parts, small, "small model, nothing kept", "new-memory", parts.work / "cache-memory"),
        _memory_row(
            parts, huge, f"{megabytes(sizes.huge_bytes)} model, stored", "huge", parts.work / "cache"
        ),
    ]
    rows.append(
        _memory_row(
            parts,
            huge,
            f"{megabytes(sizes.huge_bytes)} model, gzip",
            "huge-gzip",
            parts.work / "cache",
            "--model-layer",
            "gzip",
        )
    )
    shutil.rmtree(huge.model)
    _forget_large_blobs(parts)
    return rows


def _memory_row(parts: Parts, logged: Logged, what: str, repository: str, cache: Path, *options: str) -> Row:
    built = containerize(
        parts,
        logged.run_id,
        repository,
        *options,
        cache=cache,
        sample_memory=True,
    )
    tree, one = built.done.tree_rss_bytes, built.done.largest_rss_bytes
    return Row(
        what=f"peak memory of all processes, {what}",
        ours=f"{megabytes(tree)} in {built.done.seconds:.0f} s",
        peer=f"largest process: {megabytes(one)}",
        found=megabytes(tree),
        limit="300 MB",
        reached=tree <= 300e6,
    )


def image_size(parts: Parts, peer: Peer) -> list[Row]:
    """Bytes of `docker export`: the demo's image beside its untouched requirements on the same base."""
    logged = runs.log_demo(parts)
    built = containerize(parts, logged.run_id, "size", cache=parts.work / "cache")
    ours = _exported_bytes(peer.docker, built.report["reference"])
    wanted = (logged.model / "requirements.txt").read_text().split()
    context = peer.context("context-size", logged.model, wanted)
    theirs = _exported_bytes(peer.docker, peer.build_and_push(context, "size-docker", cached=True)[0])
    base = _exported_bytes(peer.docker, parts.base)
    with_pip = _exported_bytes(peer.docker, peer.base)
    return [
        Row(
            what="the demo's image, uncompressed",
            ours=megabytes(ours),
            peer=f"the model's untouched requirements: {megabytes(theirs - with_pip + base)}",
            found=f"{ours / (theirs - with_pip + base):.2f} of it",
            limit="0.50",
            reached=2 * ours <= theirs - with_pip + base,
        ),
        Row(
            what="base, uncompressed",
            ours=megabytes(base),
            peer="",
            found=megabytes(base),
            limit="120 MB",
            reached=base <= 120e6,
        ),
    ]


def _exported_bytes(docker: str, image: str) -> int:
    script = """set -eu
"$1" pull -q "$2" >/dev/null 2>&1 || true
container=$("$1" create "$2" none)
"$1" export "$container" | wc -c
"$1" rm "$container" >/dev/null
"""
    return int(timed(["sh", "-c", script, "sh", docker, image]).stdout.split()[-1])
