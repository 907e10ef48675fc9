"""An evaluation as Markdown, for a terminal, a pull request or a chat."""

from __future__ import annotations

from collections.abc import Iterator

from runbake.evaluation.comparison import Estimate
from runbake.evaluation.evaluation import Evaluation

_SLICES = 5


def summary_of(evaluation: Evaluation) -> str:
    """The verdict, each gate, the metrics, what changes for users, and the worst slices."""
    return "\n".join(_lines(evaluation)) + "\n"


def _lines(evaluation: Evaluation) -> Iterator[str]:
    found, test = evaluation.comparison, evaluation.test_set
    yield f"# Evaluation: {evaluation.verdict}"
    yield ""
    yield f"{found.kind}, {found.rows:,} of {test.rows:,} rows of {_cell(test.uri)}"
    if rejected := sum(test.rejected.values()):
        yield f"{rejected:,} rows could not be asked: " + _cell(
            "; ".join(f"{count} {why}" for why, count in test.rejected.items())[:300]
        )
    if lost := sum(test.rejected_by_baseline.values()):
        yield f"{lost:,} rows could not be asked of the baseline"
    if test.without_target:
        yield f"{test.without_target:,} rows have no target"
    yield _cell(f"candidate {evaluation.candidate.run_id} {evaluation.candidate.where}")
    if evaluation.baseline:
        yield _cell(f"baseline  {evaluation.baseline.run_id} {evaluation.baseline.where}")
    else:
        yield _cell(f"no baseline: {evaluation.no_baseline}")
    yield ""
    yield from _gates(evaluation)
    yield from _metrics(evaluation)
    yield from _churn(evaluation)
    yield from _slices(evaluation)
    breaking = [each for each in evaluation.differences if each.breaks]
    yield from (f"- BREAKS CALLERS: {_cell(each.what)}: {each.breaks}" for each in breaking)


def _gates(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.decisions:
        yield "No gates are set."
        yield ""
        return
    yield "| gate | outcome | |"
    yield "|---|---|---|"
    for one in evaluation.decisions:
        yield f"| {_cell(one.name)} | {one.outcome} | {_cell(one.why)} |"
    yield ""


def _metrics(evaluation: Evaluation) -> Iterator[str]:
    yield "| metric | candidate | baseline | difference | p |"
    yield "|---|---|---|---|---|"
    for one in evaluation.comparison.metrics:
        p_value = "" if one.p_value is None else f"{one.p_value:.3f}"
        cells = (_shown(one.candidate), _shown(one.baseline), _shown(one.difference, "+"), p_value)
        yield f"| {one.name} | {' | '.join(cells)} |"
    yield ""


def _churn(evaluation: Evaluation) -> Iterator[str]:
    churn = evaluation.comparison.churn
    if churn is None:
        return
    yield (
        f"{churn.changed:,} of {churn.rows:,} answers change ({100 * churn.share:.1f} %): "
        f"{churn.fixed:,} fixed, {churn.broken:,} broken"
        + (f", McNemar p {churn.mcnemar:.3g}" if churn.mcnemar is not None else "")
    )
    yield ""


def _slices(evaluation: Evaluation) -> Iterator[str]:
    worst = evaluation.comparison.slices[:_SLICES]
    if not worst:
        return
    yield f"| worst slices | rows | {worst[0].metrics[0].name} | difference |"
    yield "|---|---|---|---|"
    for part in worst:
        first = part.metrics[0]
        cells = (_cell(part.name), f"{part.rows:,}", _shown(first.candidate), _shown(first.difference, "+"))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _shown(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    if estimate.interval is None:
        return f"{estimate.value:{sign}.4f}"
    return f"{estimate.value:{sign}.4f} ({estimate.interval[0]:{sign}.4f} … {estimate.interval[1]:{sign}.4f})"


def _cell(text: str) -> str:
    """Text from outside, which breaks no line, no column, no terminal and is no HTML."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown.replace("|", "\\|").replace("<", "&lt;")
