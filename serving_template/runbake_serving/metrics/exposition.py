"""Figures as text for Prometheus.

Source: Prometheus text format 0.0.4; OpenMetrics 1.0.0, which has other names for counters' families and
information, and ends with a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line: `suffix` follows the family's name."""

    value: float
    labels: Labels = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Samples under one name; `kind` is counter, gauge, histogram or info, the name without its suffix."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def text_of(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The whole answer to a scrape."""
    lines = [line for family in families for line in _lines(family, openmetrics)]
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def wants_openmetrics(accept: str) -> bool:
    """Whether this Accept header likes OpenMetrics at least as much as plain text."""
    liking = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if name in liking:
            liking[name] = max(liking[name], _quality(parameters))
    return 0 < liking["application/openmetrics-text"] >= liking["text/plain"]


def histogram_samples(
    counts: Sequence[float], total: float, bounds: Sequence[float], labels: Labels = ()
) -> Iterator[Sample]:
    """A histogram's lines; `counts` has one number for each bound and one for what is above all."""
    so_far = 0.0
    for count, bound in zip(counts, (*bounds, float("inf")), strict=True):
        so_far += count
        yield Sample(suffix="_bucket", labels=(*labels, ("le", _number(float(bound)))), value=so_far)
    yield Sample(suffix="_sum", labels=labels, value=total)
    yield Sample(suffix="_count", labels=labels, value=so_far)


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _positive(value.strip())
    return 1.0


def _positive(text: str) -> float:
    digits = text.replace(".", "", 1)
    return float(text) if digits.isascii() and digits.isdigit() and len(text) <= 5 else 0.0


def _lines(family: Family, openmetrics: bool) -> Iterator[str]:
    suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
    name = family.name if openmetrics else family.name + suffix
    kind = "gauge" if family.kind == "info" and not openmetrics else family.kind
    yield f"# HELP {name} {_escaped(family.help)}"
    yield f"# TYPE {name} {kind}"
    for sample in family.samples:
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels)
        braced = f"{{{labels}}}" if labels else ""
        yield f"{family.name}{suffix}{sample.suffix}{braced} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(float(value))
