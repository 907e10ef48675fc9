"""`runbake containerize`, as a user starts it, timed from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import Done, timed
from benchmarks.parts import Parts

_MAIN = "from runbake.cli import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image, and what making it took; `report` is image.json."""

    done: Done
    report: dict[str, Any]

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        """The layers of the first platform by name."""
        return {layer["name"]: layer for layer in self.report["platforms"][0]["layers"]}

    @property
    def sent_bytes(self) -> int:
        """Bytes of blobs that the registry did not have."""
        return int(self.report["transfer"]["sentBytes"])


def containerize(
    parts: Parts,
    run_id: str,
    repository: str,
    *options: str,
    cache: Path,
    prefix: Sequence[str | Path] = (),
    python: Path | None = None,
    environment: Mapping[str, str] | None = None,
    sample_memory: bool = False,
) -> Built:
    """From start to tagged, without proof. `repository` is a name in the benchmark's registry.

    Raises:
        CommandFailed: no image came of it.
    """
    report = cache.parent / f"image-{cache.name}.json"
    done = timed(
        [
            *prefix,
            *(str(python or parts.python), "-c", _MAIN, "containerize", run_id, "--unpromoted"),
            *("--repository", f"{parts.registry}/{repository}", "--base", parts.base),
            *("--cache", str(cache), "--report", str(report), "--no-prove", "--allow-unproven", *options),
        ],
        environment=environment or parts.environment,
        cwd=cache.parent,
        sample_memory=sample_memory,
    )
    return Built(done=done, report=json.loads(report.read_bytes()))
