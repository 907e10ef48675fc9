"""From `docker run` to the first row."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median

from benchmarks.batch.bench import Bench
from benchmarks.commands import CommandFailed
from benchmarks.serving.containers import image
from benchmarks.table import Row

_DEADLINE_S = 60.0


def start(bench: Bench) -> list[Row]:
    """A job of one row, read-only and without network, until its part is committed."""
    reference = image(bench.serving, "batch", bench.floats)
    seconds = [_first_row(bench, reference) for _ in range(bench.sizes.starts)]
    return [
        Row(
            what="`docker run --read-only --network none` to the first committed row, scikit-learn",
            ours=f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})",
            peer="",
            found=f"{median(seconds):.2f} s",
            limit="3 s",
            reached=median(seconds) <= 3,
        )
    ]


def _first_row(bench: Bench, reference: str) -> float:
    place = bench.new("start")
    place.mkdir()
    place.chmod(0o777)  # the image's user writes here
    bench.floats.rows.head(1).to_csv(place / "row.csv", index=False)
    first = place / "out" / "part-00000.csv"
    started = time.monotonic()
    process = subprocess.Popen(
        [
            *("docker", "run", "--rm", "--read-only", "--network", "none", "--tmpfs", "/tmp"),
            *("-v", f"{place}:/data", reference, "batch", "--input", "/data/row.csv"),
            *("--output", "/data/out", "--output-format", "csv"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not first.exists():
        if process.poll() is not None or time.monotonic() > started + _DEADLINE_S:
            raise CommandFailed(f"no row: {_said(process)}")
        time.sleep(0.002)
    seconds = time.monotonic() - started
    said = _said(process)
    if process.returncode or len(_lines(first)) != 2:
        raise CommandFailed(f"the job ended with {process.returncode}: {said}")
    return seconds


def _said(process: subprocess.Popen[bytes]) -> str:
    return process.communicate(timeout=_DEADLINE_S)[0].decode(errors="replace")[-2000:]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
