"""What every figure uses: directories, environments, the measured runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.parts import Parts, running_parts
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
    starts: int


FULL = Sizes(repeats=3, seconds=4, overload_s=60, requests=10_000, starts=7)
QUICK = Sizes(repeats=1, seconds=1, overload_s=5, requests=1_000, starts=2)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """`cache` outlives the benchmark, `work` does not; `runtime` holds the package `runbake_serving`.

    `ends` takes what lasts as long as the benchmark.
    """

    cache: Path
    work: Path
    runtime: Path
    sizes: Sizes
    ends: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def parts(self) -> Parts:
        """What makes images: a registry, an MLflow server, a base, runbake in a venv of its own."""
        return self.ends.enter_context(running_parts(self.work))

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
