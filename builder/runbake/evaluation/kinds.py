"""What kind of question a model answers, and its answers beside the truth as arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runbake.errors import EvaluationError
from runbake.evaluation.answers import Answers, Rows, labels_of, numbers_of
from runbake.evaluation.measures import Classes, Labels, Measured, Numbers, Scores, Tags
from runbake.evaluation.ranking import Ranked
from runbake.evaluation.resampling import Floats

Kind = Literal["binary", "multiclass", "multilabel", "regression", "labels", "ranking"]
KINDS: tuple[Kind, ...] = ("binary", "multiclass", "multilabel", "regression", "labels", "ranking")
MOST_CLASSES = 200
_FEW = 20
_WHOLE = re.compile(r"-?[0-9]{1,300}")
_SUM_WITHIN = 1e-3
"""Whole numbers with no more different values than this are classes, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The kind, the rows whose target is known, and what is measured of each model on them.

    Attributes:
        index: of those rows among the answered ones.
        without_target: answered rows whose target is missing.
        classes: names of the classes, where there are some.
        target: class codes of the rows, for tables by class; None for numbers.
        parts: for each model, what is measured.
    """

    kind: Kind
    index: Rows
    without_target: int
    classes: tuple[str, ...]
    target: Rows | None
    parts: tuple[tuple[Measured, ...], ...]


def truth_of(
    models: Sequence[Answers], targets: Sequence[str], wanted: Kind | None, group: str = ""
) -> Truth:
    """What is asked and what was answered, of models that answered the same rows.

    Args:
        group: the column whose values say which rows are ranked together; "" ranks nothing.

    Raises:
        EvaluationError: target or predictions are of no kind that can be compared.
    """
    for target in targets:
        if target not in models[0].columns:
            raise EvaluationError(
                f"the test set has no column {target!r}", hint="--target names the truth's column"
            )
    found = _ranking(models, targets, group) if group else _truth(models, targets, wanted)
    if wanted not in (None, found.kind, *(("multiclass",) if found.kind == "binary" else ())):
        raise EvaluationError(
            f"target and answers make a {found.kind} evaluation, not {wanted}",
            hint="docs/evaluation.md says what each kind wants of them",
        )
    return found


def _truth(models: Sequence[Answers], targets: Sequence[str], wanted: Kind | None) -> Truth:
    if len(targets) > 1:
        return _multilabel(models, targets)
    target = models[0].columns[targets[0]]
    shapes = {_shape(model) for model in models}
    if len(shapes) > 1:
        raise EvaluationError(
            f"the two models answer in different forms: {' and '.join(sorted(shapes))}",
            hint="--baseline none evaluates the candidate alone",
        )
    shape = shapes.pop()
    if shape == "one" and _wants_numbers(models, target, wanted):
        return _regression(models, target)
    if shape == "lists":
        return _labels(models, target)
    return _scores(models, target) if shape == "several" else _classes(models, target)


def _shape(model: Answers) -> str:
    columns = [model.columns[name] for name in model.predictions]
    if any(_lists(column) for column in columns):
        return "lists"
    return "one" if len(columns) == 1 else "several"


def _lists(column: pa.ChunkedArray) -> bool:
    if pa.types.is_list(column.type):
        return True
    if not pa.types.is_string(column.type):
        return False
    first = next((text for text in column.drop_null()[:1].to_pylist()), "")
    try:
        return isinstance(json.loads(first), list) if first.startswith("[") else False
    except ValueError:
        return False


def _wants_numbers(models: Sequence[Answers], target: pa.ChunkedArray, wanted: Kind | None) -> bool:
    if wanted is not None:
        return wanted == "regression"
    # Counts as truth and 3.27 as the answer are a regression, too.
    columns = [target, *(model.columns[model.predictions[0]] for model in models)]
    numeric = all(numbers_of(column) is not None for column in columns)
    return numeric and any(_continuous(column) for column in columns)


def _continuous(target: pa.ChunkedArray) -> bool:
    numbers = numbers_of(target)
    if numbers is None or pa.types.is_boolean(target.type):
        return False
    known = numbers[np.isfinite(numbers)]
    return bool(np.any(known != np.floor(known))) or len(np.unique(known)) > _FEW


def _known(kept: Rows, total: int) -> Rows:
    if not len(kept):
        raise EvaluationError(
            f"the target is missing in all {total:,} answered rows", hint="--target names the truth's column"
        )
    return kept


def _regression(models: Sequence[Answers], target: pa.ChunkedArray) -> Truth:
    truth = numbers_of(target)
    guesses = [numbers_of(model.columns[model.predictions[0]]) for model in models]
    if truth is None or any(guess is None for guess in guesses):
        raise EvaluationError("a regression needs numbers, and target or predictions hold other values")
    index = _known(np.flatnonzero(np.isfinite(truth)), len(truth))
    parts = tuple(
        (Numbers(truth=truth[index], guess=guess[index]),) for guess in guesses if guess is not None
    )
    return Truth(
        kind="regression",
        index=index,
        without_target=len(truth) - len(index),
        classes=(),
        target=None,
        parts=parts,
    )


def _ranking(models: Sequence[Answers], targets: Sequence[str], group: str) -> Truth:
    if group not in models[0].columns:
        raise EvaluationError(
            f"the test set has no column {group!r}", hint="--group names the column of rows ranked together"
        )
    if len(targets) > 1 or any(len(model.predictions) > 1 for model in models):
        raise EvaluationError("a ranking has one target, how relevant a row is, and one score")
    truth = numbers_of(models[0].columns[targets[0]])
    guesses = [numbers_of(model.columns[model.predictions[0]]) for model in models]
    if truth is None or any(guess is None for guess in guesses):
        raise EvaluationError("a ranking needs numbers, and target or scores hold other values")
    index = _known(np.flatnonzero(np.isfinite(truth)), len(truth))
    codes, _ = labels_of(models[0].columns[group])
    if nameless := int((codes[index] < 0).sum()):
        raise EvaluationError(
            f"{nameless:,} rows have no value in {group}: which rows they are ranked with is not known"
        )
    if (truth[index] < 0).any():
        raise EvaluationError("how relevant a row is must be 0 or more, and the target is negative somewhere")
    _, groups = np.unique(codes[index], return_inverse=True)
    return Truth(
        kind="ranking",
        index=index,
        without_target=len(truth) - len(index),
        classes=(),
        target=None,
        parts=tuple(
            (
                Ranked(
                    truth=truth[index],
                    # No answer comes last.
                    guess=np.where(np.isnan(guess), -np.inf, guess)[index],
                    group=groups.astype(np.int64),
                ),
            )
            for guess in guesses
            if guess is not None
        ),
    )


def _coded(columns: Sequence[pa.ChunkedArray]) -> tuple[list[Rows], tuple[str, ...]]:
    """Columns as codes into the values of them all."""
    coded = [labels_of(column) for column in columns]
    numeric = all(_WHOLE.fullmatch(name) for _, names in coded for name in names)
    every = {name for _, names in coded for name in names}
    classes = tuple(sorted(every, key=int) if numeric else sorted(every))
    if len(classes) > MOST_CLASSES:
        raise EvaluationError(
            f"target and predictions have {len(classes):,} different values, more than {MOST_CLASSES}",
            hint="--kind regression compares numbers; is --target the right column?",
        )
    place = {name: position for position, name in enumerate(classes)}
    found = []
    for codes, names in coded:
        moved = np.array([*(place[name] for name in names), -1], dtype=np.int64)
        found.append(moved[codes])
    return found, classes


def _of_classes(
    truth: Rows, guesses: Sequence[Rows], classes: tuple[str, ...]
) -> tuple[Rows, tuple[Classes, ...]]:
    index = _known(np.flatnonzero(truth >= 0), len(truth))
    count = len(classes)
    # No answer at all is wrong, whatever the truth is: it has a column of its own.
    guesses = [np.where(guess < 0, count, guess) for guess in guesses]
    return index, tuple(
        Classes(truth=truth[index], guess=guess[index], classes=count + 1) for guess in guesses
    )


def _kind_of(truth: Rows, guesses: Sequence[Rows]) -> Kind:
    seen = np.unique(np.concatenate([truth, *guesses]))
    return "binary" if len(seen[seen >= 0]) <= 2 else "multiclass"


def _classes(models: Sequence[Answers], target: pa.ChunkedArray) -> Truth:
    columns = [model.columns[model.predictions[0]] for model in models]
    (truth, *guesses), classes = _coded([target, *columns])
    _check_shared(truth, guesses, classes)
    index, parts = _of_classes(truth, guesses, classes)
    return Truth(
        kind=_kind_of(truth, guesses),
        index=index,
        without_target=len(truth) - len(index),
        classes=classes,
        target=truth[index],
        parts=tuple((part,) for part in parts),
    )


def _check_shared(truth: Rows, guesses: Sequence[Rows], classes: tuple[str, ...]) -> None:
    there = set(truth[truth >= 0])
    for guess in guesses:
        answered = set(guess[guess >= 0])
        if len(there) > 1 and len(answered) > 1 and not there & answered:
            names = [", ".join(classes[code] for code in sorted(codes)[:4]) for codes in (there, answered)]
            raise EvaluationError(
                f"target ({names[0]}) and answers ({names[1]}) have no class in common",
                hint="write the target as the model answers",
            )


def _scores(models: Sequence[Answers], target: pa.ChunkedArray) -> Truth:
    """Several numbers for each row: the probability of each class, in the order of the classes."""
    (truth,), classes = _coded([target])
    tables = [[numbers_of(model.columns[name]) for name in model.predictions] for model in models]
    if any(len(table) != len(classes) or any(column is None for column in table) for table in tables):
        raise EvaluationError(
            f"{len(models[0].predictions)} predicted columns are no probabilities of the target's "
            f"{len(classes)} classes",
            hint="several --target are multilabel; probabilities need every class in the test set",
        )
    scores = [np.column_stack([column for column in table if column is not None]) for table in tables]
    if not all(_probabilities(one) for one in scores):
        raise EvaluationError(
            f"the columns {', '.join(models[0].predictions[:5])} are no probabilities: each must be 0 … 1 "
            "and a row's make 1 together",
            hint="serve predict_proba, or the class alone",
        )
    guesses = [np.argmax(one, axis=1).astype(np.int64) for one in scores]
    index, parts = _of_classes(truth, guesses, classes)
    return Truth(
        kind="binary" if len(classes) <= 2 else "multiclass",
        index=index,
        without_target=len(truth) - len(index),
        classes=classes,
        target=truth[index],
        parts=tuple(
            (part, Scores(truth=truth[index], scores=one[index]))
            for part, one in zip(parts, scores, strict=True)
        ),
    )


def _probabilities(scores: Floats) -> bool:
    in_range = bool(np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all())
    return in_range and bool((np.abs(scores.sum(axis=1) - 1) < _SUM_WITHIN).all())


def _labels(models: Sequence[Answers], target: pa.ChunkedArray) -> Truth:
    """A list of labels for each row, the likeliest first, as fastText answers."""
    lists = [_of_texts(model) for model in models]
    firsts = [pc.list_element(_padded(one), 0) for one in lists]
    (truth, *guesses), classes = _coded([target, *(pa.chunked_array([first]) for first in firsts)])
    index, parts = _of_classes(truth, guesses, classes)
    names = dict(enumerate(classes))
    found = []
    for part, one in zip(parts, lists, strict=True):
        wanted = [names.get(int(code), "") for code in truth]
        hit = np.array([w in row for w, row in zip(wanted, one.to_pylist(), strict=True)], dtype=bool)
        found.append((part, Labels(hit=hit[index])))
    return Truth(
        kind="labels",
        index=index,
        without_target=len(truth) - len(index),
        classes=classes,
        target=truth[index],
        parts=tuple(found),
    )


def _of_texts(model: Answers) -> pa.Array:
    for name in model.predictions:
        column = model.columns[name].combine_chunks()
        if pa.types.is_string(column.type):
            column = pa.array([json.loads(text) if text else [] for text in column.to_pylist()])
        if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
            return column
    raise EvaluationError(
        "the model answers lists, none of which is of texts: there are no labels to compare"
    )


def _padded(lists: pa.Array) -> pa.Array:
    return pa.array([row if row else [None] for row in lists.to_pylist()], type=pa.list_(pa.string()))


def _multilabel(models: Sequence[Answers], targets: Sequence[str]) -> Truth:
    truth = [numbers_of(models[0].columns[name]) for name in targets]
    # By name where the names are the same, else by position.
    orders = [targets if set(targets) == set(one.predictions) else one.predictions for one in models]
    tables = [
        [numbers_of(model.columns[name]) for name in order]
        for model, order in zip(models, orders, strict=True)
    ]
    every = [column for table in (truth, *tables) for column in table]
    if any(len(table) != len(targets) for table in tables) or any(
        column is None or not np.isin(column[np.isfinite(column)], (0, 1)).all() for column in every
    ):
        raise EvaluationError(
            f"{len(targets)} targets need as many predicted columns, all of 0 and 1",
            hint="one --target makes another kind of evaluation",
        )
    wanted = np.column_stack([column for column in truth if column is not None])
    index = _known(np.flatnonzero(np.isfinite(wanted).all(axis=1)), len(wanted))
    guesses = [np.column_stack([column for column in table if column is not None]) for table in tables]
    return Truth(
        kind="multilabel",
        index=index,
        without_target=len(wanted) - len(index),
        classes=tuple(targets),
        target=None,
        # No answer is wrong, whatever the truth is.
        parts=tuple(
            (Tags(truth=wanted[index] == 1, guess=np.where(np.isnan(guess), 1 - wanted, guess)[index] == 1),)
            for guess in guesses
        ),
    )
