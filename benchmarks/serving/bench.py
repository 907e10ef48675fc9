"""What every figure uses: directories, environments, the measured runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import models, servers
from benchmarks.serving.environments import environment
from benchmarks.serving.models import Saved
from benchmarks.serving.servers import Running, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured; the limits hold for `FULL` only."""

    repeats: int
    seconds: int
    overload_s: int
    requests: int


FULL = Sizes(repeats=3, seconds=4, overload_s=60, requests=10_000)
QUICK = Sizes(repeats=1, seconds=1, overload_s=5, requests=1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`cache` outlives the benchmark, `work` does not; `runtime` holds the package `runbake_serving`."""

    cache: Path
    work: Path
    runtime: Path
    sizes: Sizes

    def saved(self, name: str) -> Saved:
        """The model called `name`, saved for MLflow."""
        return models.save(name, self.work / "models")

    @contextmanager
    def running(self, chosen: list[Server], saved: Saved) -> Iterator[list[Running]]:
        """All of these servers at the same time, each with this model."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    servers.running(one, environment(one.name, self.cache), saved.path, self.work)
                )
                for one in chosen
            ]
