"""What provenance costs in figures: `python -m benchmarks.provenance [--quick] [--only NAME]…`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import requests

from benchmarks.commands import CommandFailed, timed
from benchmarks.containerize import runs
from benchmarks.containerize.ours import Built, containerize
from benchmarks.measure import Benchmark, leave_at_sigterm, measured
from benchmarks.parts import Parts, running_parts
from benchmarks.table import Row, megabytes

_MAIN = "from runbake.cli import main; main()"
_STEPS = ("layers", "attest")
_MOST_ADDED_S = 0.5
_MOST_TIMES = 1.5

NOTES = (
    "runbake is the last commit in a fresh checkout, in a venv with its own dependencies only, timed from "
    "the start of the process to its end. Medians; least and most beside them.",
    "`layers` packs the model's files, the runtime and the label file, and writes the configuration with its "
    "labels; `attest` makes statements and SBOM, signs them and sends them. Both are as runbake prints them, "
    "to a tenth of a second, so that the figure is at most this, and the label file is a small part of it.",
    "Beside `verify` are curl and sha256sum for each blob of the image, one after the other, in one shell: "
    "nothing is checked against anything, and no signature, label or file within a layer is looked at.",
    "Both are done in turns and once before, so that all is in the page cache. The registry is on the "
    "loopback address of this machine.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured; the limits hold for `FULL` only."""

    repeats: int
    weights_bytes: int


FULL = Sizes(repeats=5, weights_bytes=500_000_000)
QUICK = Sizes(repeats=1, weights_bytes=5_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Files of a key pair on P-256, PEM."""

    private: Path
    public: Path


def attest(parts: Parts, keys: Keys, sizes: Sizes) -> list[Row]:
    """What label file, labels and attestation add at most to the build of a small new model."""
    _signed(parts, keys, runs.log(parts).run_id)
    built = [_signed(parts, keys, runs.log(parts).run_id) for _ in range(sizes.repeats)]
    told = [_step_seconds(each.done.stderr) for each in built]
    added = [sum(each.values()) for each in told]
    return [
        Row(
            what="retrained small model, same environment, signed: "
            + " and ".join(f"`{name}`" for name in _STEPS),
            ours=" + ".join(f"{median(each[name] for each in told):.1f} s" for name in _STEPS),
            peer=f"the whole build: {_seconds([each.done.seconds for each in built])}",
            found=_seconds(added),
            limit=f"{_MOST_ADDED_S} s",
            reached=median(added) <= _MOST_ADDED_S,
        )
    ]


def verify(parts: Parts, keys: Keys, sizes: Sizes) -> list[Row]:
    """A signed image with a large model: everything checked, beside a download that only hashes."""
    image = _signed(parts, keys, runs.log(parts, weights_bytes=sizes.weights_bytes).run_id).report
    blobs = dict(_blobs(parts, image))
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(sizes.repeats + 1):
        plain.append(_download(parts, blobs))
        ours.append(_verify(parts, keys, image["reference"]))
    ours, plain = ours[1:], plain[1:]
    times = median(ours) / median(plain)
    return [
        Row(
            what=f"`verify --key` of a signed image, {megabytes(sum(blobs.values()))} in {len(blobs)} blobs",
            ours=_seconds(ours),
            peer=f"curl and sha256sum of each blob: {_seconds(plain)}",
            found=f"{times:.2f}x",
            limit=f"{_MOST_TIMES}x",
            reached=times <= _MOST_TIMES,
        )
    ]


CASES: Mapping[str, Callable[[Parts, Keys, Sizes], list[Row]]] = {"attest": attest, "verify": verify}

BENCHMARK = Benchmark(
    directory=Path(__file__).parent, title="Provenance in figures", cases=tuple(CASES), notes=NOTES
)


def _signed(parts: Parts, keys: Keys, run_id: str) -> Built:
    return containerize(
        parts, run_id, "provenance", "--sign-key", str(keys.private), cache=parts.work / "cache"
    )


def _step_seconds(said: str) -> dict[str, float]:
    """The seconds of each step, as the lines on stderr have them."""
    found = {name: re.search(rf"^ *{name} .* (\d+\.\d) s$", said, re.MULTILINE) for name in _STEPS}
    if missing := [name for name, match in found.items() if match is None]:
        raise CommandFailed(f"no line of {', '.join(missing)} in:\n{said}")
    return {name: float(match[1]) for name, match in found.items() if match}


def _blobs(parts: Parts, image: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Configuration and layers of the image, each digest with its size in bytes."""
    answer = requests.get(
        f"http://{parts.registry}/v2/provenance/manifests/{image['digest']}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=30,
    )
    answer.raise_for_status()
    manifest = answer.json()
    for blob in (manifest["config"], *manifest["layers"]):
        yield blob["digest"], blob["size"]


def _download(parts: Parts, blobs: Mapping[str, int]) -> float:
    """Fetch and hash them all; the hashes are looked at, so that the time is of a whole download."""
    address = f"http://{parts.registry}/v2/provenance/blobs"
    lines = [f"curl -sSf {shlex.quote(f'{address}/{digest}')} | sha256sum" for digest in blobs]
    done = timed(["sh", "-c", "\n".join(["set -eu", *lines])])
    hashes = [f"sha256:{line.split()[0]}" for line in done.stdout.splitlines()]
    if hashes != list(blobs):
        raise CommandFailed(f"the registry's blobs are {hashes}, not {list(blobs)}")
    return done.seconds


def _verify(parts: Parts, keys: Keys, image: str) -> float:
    return timed(
        [
            *(parts.python, "-c", _MAIN, "verify", image, "--key", keys.public),
            *("--require-signed", "--cache", parts.work / "cache"),
        ],
        environment=parts.environment,
        cwd=parts.work,
    ).seconds


def _key_pair(directory: Path) -> Keys:
    keys = Keys(private=directory / "release.pem", public=directory / "release.pub")
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    timed(["openssl", "genpkey", *curve, "-out", keys.private])
    timed(["openssl", "pkey", "-in", keys.private, "-pubout", "-out", keys.public])
    return keys


def _seconds(values: list[float]) -> str:
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f} s{spread}"


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    arguments = BENCHMARK.parser().parse_args()
    leave_at_sigterm()
    sizes = QUICK if arguments.quick else FULL
    with running_parts(None) as parts:
        keys = _key_pair(parts.work)
        rows = measured(arguments.only or CASES, lambda name: CASES[name](parts, keys, sizes))
    return BENCHMARK.tell(rows, arguments, whole=not (arguments.quick or arguments.only))


if __name__ == "__main__":
    sys.exit(main())
