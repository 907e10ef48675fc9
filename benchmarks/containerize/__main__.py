"""`runbake containerize` beside its peers: `python -m benchmarks.containerize [--quick] [--only NAME]…`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.containerize import figures
from benchmarks.containerize.digests import same_digest
from benchmarks.containerize.figures import FULL, QUICK, Sizes
from benchmarks.containerize.peer import Peer, prepared
from benchmarks.measure import Benchmark, leave_at_sigterm, measured
from benchmarks.parts import Parts, running_parts
from benchmarks.table import Row

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
    "Medians of three, of five for the small model; least and most beside them. Before each command the disk "
    "is synchronized, so that none waits for what another wrote.",
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

BENCHMARK = Benchmark(
    directory=Path(__file__).parent,
    title="`runbake containerize` in figures",
    cases=tuple(FIGURES),
    notes=NOTES,
)


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    parser = BENCHMARK.parser()
    parser.add_argument("--directory", type=Path, help="where 20 GB fit  [default: the temporary directory]")
    arguments = parser.parse_args()
    leave_at_sigterm()
    sizes = QUICK if arguments.quick else FULL
    with running_parts(arguments.directory) as parts, prepared(parts) as peer:
        pins = figures.same_environment(parts)
        rows = measured(arguments.only or FIGURES, lambda name: FIGURES[name](parts, peer, pins, sizes))
    return BENCHMARK.tell(rows, arguments, whole=not (arguments.quick or arguments.only))


if __name__ == "__main__":
    sys.exit(main())
