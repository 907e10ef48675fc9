"""Gates: what has to hold before a model may go on, and how each was decided. Pure.

A gate has three ends. On the point estimate it is passed or failed; on the interval it is passed where the
whole interval holds, failed where none of it does, and not decidable between: more rows would tell. A metric
that is missing or NaN fails its gate by name. Where there is no baseline yet, a gate on the difference says
so and holds nobody up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from runbake.errors import ConfigError
from runbake.evaluation.comparison import Comparison, Estimate, Metric
from runbake.evaluation.measures import NEITHER_IS_BETTER

Outcome = Literal["passed", "failed", "undecidable", "no baseline"]
FEWEST_ROWS = 30
_KEYS = ("metric", "at-least", "at-most", "worse-by-at-most", "on", "slices", "min-rows")
_BOUNDS = _KEYS[1:4]
SHARES = ("churn", "broken", "rejected")
COSTS = ("ms_per_1000_rows", "breaking_changes")
"""Numbers beside the metrics: shares of the rows, and numbers that no count of rows makes surer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition.

    Attributes:
        metric: a metric's name, or `churn`, `broken`, `rejected` (shares of rows), `ms_per_1000_rows`,
            `breaking_changes` (of the signature).
        bound: `at-least`, `at-most` or `worse-by-at-most`.
        relative: `limit` is a share of the baseline's value.
        interval: the whole interval must hold, not only the point.
        slices: every slice must hold too.
        min_rows: with fewer it is not decidable.
    """

    metric: str
    bound: str
    limit: float
    relative: bool = False
    interval: bool = False
    slices: bool = False
    min_rows: int = FEWEST_ROWS

    @property
    def text(self) -> str:
        """As people say it."""
        limit = f"{self.limit:.4g}" if not self.relative else f"{100 * self.limit:.4g} %"
        how = " (whole interval)" if self.interval else ""
        return f"{self.metric} {self.bound.replace('-', ' ')} {limit}{how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One of `SHARES` or `COSTS`.

    Attributes:
        value: None where it needs a baseline, and there is none.
        rows: that it is of; None where their number makes it no surer.
    """

    value: float | None
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a gate was decided, and by which numbers; `where` is "" for all rows, else a slice."""

    gate: Gate
    where: str
    outcome: Outcome
    why: str

    @property
    def name(self) -> str:
        """The gate, and the slice it is of."""
        return f"{self.gate.text} in {self.where}" if self.where else self.gate.text


def gate_of(document: Mapping[str, Any]) -> Gate:
    """The gate that a table of runbake.toml, or KEY=VALUE pairs, ask for.

    Raises:
        ConfigError: a key is unknown or missing, or a value malformed.
    """
    shown = ", ".join(f"{key}={value}" for key, value in document.items())
    if unknown := sorted(set(document) - set(_KEYS)):
        raise ConfigError(f"gate {shown}: {unknown[0]} is unknown", hint=f"its keys are {', '.join(_KEYS)}")
    bounds = [bound for bound in _BOUNDS if bound in document]
    if "metric" not in document or len(bounds) != 1:
        raise ConfigError(f"gate {shown or '(empty)'} wants `metric` and one of {', '.join(_BOUNDS)}")
    limit, relative = _limit(document[bounds[0]], shown)
    if relative and bounds[0] != "worse-by-at-most" and str(document["metric"]) not in SHARES:
        raise ConfigError(f"gate {shown}: a share of what? P% is for {_BOUNDS[2]} and {', '.join(SHARES)}")
    metric, slices = str(document["metric"]), _flag(document.get("slices", False), shown)
    if bounds[0] == "worse-by-at-most" and metric in (*SHARES, *COSTS, *NEITHER_IS_BETTER):
        raise ConfigError(f"gate {shown}: {metric} wants at-least or at-most")
    if slices and metric in (*SHARES[1:], *COSTS):
        raise ConfigError(f"gate {shown}: {metric} is not known of slices")
    on = str(document.get("on", "point"))
    if on not in ("point", "interval"):
        raise ConfigError(f"gate {shown}: `on` is point or interval")
    return Gate(
        metric=metric,
        bound=bounds[0],
        limit=limit,
        relative=relative and bounds[0] == "worse-by-at-most",
        interval=on == "interval",
        slices=slices,
        min_rows=_count(document.get("min-rows", FEWEST_ROWS), shown),
    )


def _limit(value: object, shown: str) -> tuple[float, bool]:
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError as error:
        raise ConfigError(f"gate {shown}: {text!r} is no number") from error
    if not math.isfinite(number):
        raise ConfigError(f"gate {shown}: {text!r} is no finite number")
    return (number / 100, True) if text.endswith("%") else (number, False)


def _count(value: object, shown: str) -> int:
    text = str(value).strip()
    if not text.isdecimal():
        raise ConfigError(f"gate {shown}: `min-rows` is a count of rows, not {text!r}")
    return int(text)


def _flag(value: object, shown: str) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ConfigError(f"gate {shown}: `slices` is true or false")
    return str(value).lower() == "true"


def decided(gates: Sequence[Gate], comparison: Comparison, facts: Mapping[str, Fact]) -> tuple[Decision, ...]:
    """Every gate, over all rows and where asked in every slice; `facts` stand beside the metrics."""
    return tuple(decision for gate in gates for decision in _decided(gate, comparison, facts))


def undecided(decisions: Sequence[Decision], why: str) -> tuple[Decision, ...]:
    """The same where there is a baseline that cannot be compared with: what needs it is not decidable."""
    return tuple(
        replace(one, outcome="undecidable", why=why) if one.outcome == "no baseline" else one
        for one in decisions
    )


def _decided(gate: Gate, comparison: Comparison, facts: Mapping[str, Fact]) -> Iterator[Decision]:
    if gate.slices and not comparison.slices:
        yield Decision(gate=gate, where="slices", outcome="undecidable", why="there are none; name a --slice")
    if gate.metric in facts:
        yield _of_fact(gate, facts[gate.metric])
        for part in comparison.slices if gate.slices else ():
            yield _of_fact(gate, Fact(value=part.churn, rows=part.rows), part.name)
        return
    metric = comparison.metric(gate.metric)
    if metric is None:
        known = ", ".join((*(each.name for each in comparison.metrics), *facts))
        why = f"a {comparison.kind} evaluation has no {gate.metric}; it has {known}"
        yield Decision(gate=gate, where="", outcome="failed", why=why)
        return
    yield _of_metric(gate, metric, comparison.rows, "")
    for part in comparison.slices if gate.slices else ():
        for each in part.metrics:
            if each.name == gate.metric:
                yield _of_metric(gate, each, part.rows, part.name)


def _of_fact(gate: Gate, fact: Fact, where: str = "") -> Decision:
    if fact.value is None:
        return Decision(gate=gate, where=where, outcome="no baseline", why="there is nothing to compare with")
    found = Estimate(value=fact.value, interval=None)
    return _judged(gate, found, fact.rows, where, gate.limit, gate.bound)


def _of_metric(gate: Gate, metric: Metric, rows: int, where: str) -> Decision:
    if gate.bound != "worse-by-at-most":
        return _judged(gate, metric.candidate, rows, where, gate.limit, gate.bound)
    if metric.difference is None or metric.baseline is None:
        return Decision(gate=gate, where=where, outcome="no baseline", why="there is nothing to compare with")
    limit = gate.limit * abs(metric.baseline.value) if gate.relative else gate.limit
    # Worse is down, but for metrics that are better the lower they are.
    if metric.lower_is_better:
        return _judged(gate, metric.difference, rows, where, limit, "at-most")
    return _judged(gate, metric.difference, rows, where, -limit, "at-least")


def _judged(gate: Gate, found: Estimate, rows: int | None, where: str, limit: float, bound: str) -> Decision:
    what = "difference" if gate.bound == "worse-by-at-most" else gate.metric
    shown = f"{what} {found.value:.4g}"
    if found.interval is not None:
        shown += f" ({found.interval[0]:.4g} … {found.interval[1]:.4g})"
    shown += f" of {rows:,} rows" if rows is not None else ""
    shown += f", limit {limit:.4g}"

    def end(outcome: Outcome, more: str = "") -> Decision:
        return Decision(gate=gate, where=where, outcome=outcome, why=shown + more)

    if not math.isfinite(found.value):
        return end("failed", ": it is not defined on these rows")
    if rows is not None and rows < gate.min_rows:
        return end("undecidable", f": fewer than {gate.min_rows} rows")
    if not gate.interval:
        return end("passed" if _holds(found.value, limit, bound) else "failed")
    if found.interval is None:
        return end("undecidable", f": {gate.metric} has no interval")
    ends = [_holds(value, limit, bound) for value in found.interval]
    if all(ends):
        return end("passed")
    return end("undecidable", ": the limit lies within the interval") if any(ends) else end("failed")


def _holds(value: float, limit: float, bound: str) -> bool:
    # A limit is written in decimals; what is less than it by a rounding error is not less.
    if math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12):
        return True
    return value >= limit if bound == "at-least" else value <= limit


def verdict_of(decisions: Sequence[Decision]) -> str:
    """Failed if any failed, else undecidable if any is; without a gate nothing has passed."""
    if not decisions:
        return "no gates"
    outcomes = {decision.outcome for decision in decisions}
    return "failed" if "failed" in outcomes else "undecidable" if "undecidable" in outcomes else "passed"
