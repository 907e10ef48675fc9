"""Measure, print the table, and write it: `python -m benchmarks.containerize [--quick] [--only NAME]…`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.containerize import figures
from benchmarks.containerize.digests import same_digest
from benchmarks.containerize.figures import FULL, QUICK, Sizes
from benchmarks.containerize.parts import Parts, commit, running_parts
from benchmarks.containerize.peer import Peer, prepared
from benchmarks.containerize.table import Row, machine, markdown

RESULTS = Path(__file__).with_name("results.md")

Figure = Callable[[Parts, Peer, list[str], Sizes], list[Row]]

FIGURES: dict[str, Figure] = {
    "small": lambda parts, _peer, _pins, sizes: figures.retrained_small(parts, sizes),
    "large": figures.retrained_large,
    "new": figures.new_environment,
    "bumped": lambda parts, _peer, _pins, _sizes: figures.bumped_dependency(parts),
    "memory": lambda parts, _peer, _pins, sizes: figures.peak_memory(parts, sizes),
    "digest": lambda parts, _peer, _pins, _sizes: same_digest(parts),
    "size": lambda parts, peer, _pins, _sizes: figures.image_size(parts, peer),
}

NOTES = (
    "runbake is the last commit in a fresh checkout, in a venv with its own dependencies only. Its time is "
    "from the start of the process to its end: tagged, recorded on the run, without proof. The run is new "
    "each time, so its environment is locked each time.",
    "docker is the engine's BuildKit with an ordinary Dockerfile: the same base with pip in it beforehand, "
    "`RUN pip install`, `COPY model`. The model lies in the build context already: its download from MLflow "
    "is not in docker's time. `--no-cache` has no pip cache, as usual; uv's is warm, as the figure says.",
    "curl, docker and runbake take turns in each repeat, each with a model that the registry has not seen. "
    "All servers are on the loopback address of this machine.",
    "Memory is the resident memory of all of the command's processes added up, 50 times a second; what they "
    "share counts once for each. The huge model's file was put into the MLflow server's directory, not sent.",
    "Sizes are of `docker export`, pip taken off the peer's side.",
)


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.containerize", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one repeat, nothing written: a smoke test"
    )
    parser.add_argument(
        "--only", action="append", choices=sorted(FIGURES), help="these figures, nothing written"
    )
    parser.add_argument("--directory", type=Path, help="where 20 GB fit  [default: the temporary directory]")
    arguments = parser.parse_args()
    sizes, chosen = (QUICK if arguments.quick else FULL), arguments.only or list(FIGURES)
    rows = _measured(chosen, sizes, arguments.directory)
    command = "python -m benchmarks.containerize" + (" --quick" if arguments.quick else "")
    head = (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, `{command}`, {machine()}. "
        f"Medians of {sizes.repeats} (small model: {2 * sizes.repeats - 1}), with least and most."
    )
    text = markdown(rows, head=head, notes=NOTES)
    print(text)
    if not arguments.quick and not arguments.only:
        RESULTS.write_text(text, encoding="utf-8")
    return int(not arguments.quick and any(row.reached is False for row in rows))


def _measured(chosen: list[str], sizes: Sizes, directory: Path | None) -> list[Row]:
    rows: list[Row] = []
    with running_parts(directory) as parts, prepared(parts) as peer:
        pins = figures.same_environment(parts)
        for name in chosen:
            started = time.monotonic()
            found = FIGURES[name](parts, peer, pins, sizes)
            for row in found:
                print(f"{name}: {row.what}: {row.ours} | {row.peer} | {row.found}", file=sys.stderr)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
            rows += found
    return rows


if __name__ == "__main__":
    sys.exit(main())
