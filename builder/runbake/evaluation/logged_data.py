"""The test set that a run logged for itself: where it is, whether it may be read, what it asks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbake.datasets import Unreadable, document_of, followed
from runbake.errors import EvaluationError

CONTEXTS = ("eval", "evaluation", "test", "testing")
"""Of MLflow's `log_input`; whatever the case."""

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedData:
    """A test set to read, and its columns of the truth."""

    uri: str
    targets: tuple[str, ...]


def logged_data(
    label_file: Mapping[str, Any],
    allowed: Sequence[str],
    targets: tuple[str, ...],
    resolved: Callable[[str], str],
) -> LoggedData:
    """The one dataset with a context of `CONTEXTS` that lies below one of `allowed`.

    Whoever may log a run names the source, and the job reads it with the rights of this user.

    Args:
        allowed: directories, and `s3://BUCKET[/PREFIX]`.
        targets: what the user named; else the one column that is no input of the model.
        resolved: a path without links, `os.path.realpath`.

    Raises:
        EvaluationError: there is none, several, none that may be read, or the truth is not known.
    """
    every = [each for each in label_file.get("data", ()) if isinstance(each, dict)]
    tests = [each for each in every if str(each.get("context", "")).lower() in CONTEXTS]
    if not tests:
        there = ", ".join(_name(each) for each in every[:_MOST_SHOWN]) or "none at all"
        raise EvaluationError(
            f"the run logged no dataset with the context {', '.join(CONTEXTS)}; it logged {there}",
            hint="name the test set: --data FILE --target COLUMN",
        )
    found: dict[str, dict[str, Any]] = {}
    problems = []
    for each in tests:
        try:
            found.setdefault(followed(each, allowed, resolved), each)
        except Unreadable as why:
            problems.append(f"{_name(each)}: {why}")
    if not found:
        raise EvaluationError(
            "no test set that the run logged can be read\n" + "\n".join(problems[:_MOST_SHOWN]),
            hint="say where they may be with --data-from DIR|s3://BUCKET/PREFIX, or name one: --data FILE",
        )
    if len(found) > 1:
        raise EvaluationError(
            "the run logged several test sets\n" + "\n".join(list(found)[:_MOST_SHOWN]),
            hint="name one of them: --data FILE --target COLUMN",
        )
    ((uri, dataset),) = found.items()
    return LoggedData(uri=uri, targets=targets or _target_of(dataset, label_file))


def _name(dataset: Mapping[str, Any]) -> str:
    return f"{str(dataset.get('name', ''))[:100]!r} ({str(dataset.get('context', ''))[:40] or 'no context'})"


def _target_of(dataset: Mapping[str, Any], label_file: Mapping[str, Any]) -> tuple[str, ...]:
    """The column that is no input: MLflow keeps the names of columns, but not which one is the target."""
    signature = label_file["model"].get("signature")
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    known = set(_names(inputs))
    columns = _names(document_of(dataset.get("schema")).get("mlflow_colspec"))
    rest = [column for column in columns if column not in known]
    if not known or len(rest) != 1:
        told = ", ".join(rest[:_MOST_SHOWN]) if known and rest else "none that can be told"
        raise EvaluationError(
            f"which column of {_name(dataset)} is the truth is not known; columns that are no input: {told}",
            hint="name it: --target COLUMN",
        )
    return (rest[0],)


def _names(fields: Any) -> list[str]:
    each = fields if isinstance(fields, list) else []
    return [field["name"] for field in each if isinstance(field, dict) and isinstance(field.get("name"), str)]
