"""An evaluation as one HTML file that loads and runs nothing: for a GoCD tab, a mail, an archive."""

from __future__ import annotations

import base64
import hashlib
import math
from importlib.resources import files

import jinja2

from runbake.evaluation.comparison import Estimate, Metric
from runbake.evaluation.evaluation import Evaluation

_TEMPLATE = "page.html.j2"
_STYLE = "page.css"
MOST_DRAWN = 20
"""Classes of a confusion matrix that can be read; of more, the largest."""
MOST_SLICES = 40
MOST_DIFFERENCES = 300


def page_of(evaluation: Evaluation, *, title: str) -> str:
    """The page; every value in it is escaped, and a browser fetches and runs nothing.

    Source: W3C Content Security Policy Level 3, `style-src` with a hash.
    """
    here = files("runbake.evaluation")
    # The hash is of the very text between the tags, and a template loses the newline at its end.
    style = (here / _STYLE).read_text(encoding="utf-8").strip()
    sources = {_STYLE: style, _TEMPLATE: (here / _TEMPLATE).read_text(encoding="utf-8")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), undefined=jinja2.StrictUndefined, autoescape=True
    )
    environment.filters.update(estimate=_estimate, forest=_forest, share=_share, chance=_chance)
    found = evaluation.comparison
    return environment.get_template(_TEMPLATE).render(
        title=title,
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        it=evaluation,
        found=found,
        confusion=[
            (name, _drawn(table)) for name, table in zip(_names(evaluation), found.confusion, strict=False)
        ],
        slices=found.slices[:MOST_SLICES],
        most_classes=MOST_DRAWN,
        differences=evaluation.differences[:MOST_DIFFERENCES],
        more=len(evaluation.differences) - MOST_DIFFERENCES,
        most_residuals=max((count for _, _, count in found.residuals), default=1),
    )


def _names(evaluation: Evaluation) -> tuple[str, ...]:
    return ("Candidate", "Baseline") if evaluation.baseline else ("Candidate",)


def _drawn(table: tuple[tuple[int, ...], ...]) -> list[tuple[int, list[tuple[int, int, float]]]]:
    """Rows of a confusion matrix to draw: the class, and column, count and share of the row of each cell."""
    sizes = [sum(row) for row in table]
    kept = sorted(sorted(range(len(table)), key=lambda i: -sizes[i])[:MOST_DRAWN])
    columns = [*kept, *([len(table)] if any(row[-1] for row in table) else [])]
    return [
        (row, [(column, table[row][column], table[row][column] / max(sizes[row], 1)) for column in columns])
        for row in kept
    ]


def _estimate(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    if not math.isfinite(estimate.value):
        return "not defined"
    if estimate.interval is None:
        return f"{estimate.value:{sign}.4g}"
    return f"{estimate.value:{sign}.4g} ({estimate.interval[0]:{sign}.4g} … {estimate.interval[1]:{sign}.4g})"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _chance(p_value: float | None) -> str:
    if p_value is None:
        return ""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _forest(metric: Metric) -> dict[str, object] | None:
    """Where to draw a difference and its interval, from 0 to 200, with no difference at 100."""
    found = metric.difference
    if found is None or found.interval is None or not math.isfinite(found.value):
        return None
    reach = max(abs(found.value), *(abs(end) for end in found.interval))
    if not reach:
        return {"low": 100.0, "high": 100.0, "at": 100.0, "how": "same"}

    def place(value: float) -> float:
        return round(100 + 95 * value / reach, 1)

    low, high = found.interval
    sure = low > 0 or high < 0
    worse = metric.worse_by > 0
    return {
        "low": place(low),
        "high": place(high),
        "at": place(found.value),
        "how": ("worse" if worse else "better") if sure and metric.better != "neither" else "same",
    }
