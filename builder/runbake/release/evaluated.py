"""What an evaluation says of the model that is released: is it about it, and did it pass? Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runbake.errors import NotEvaluated

PASSED = "passed"
_AROUND = ("schema", "status", "tool", "gocd")
"""Of the report, not of the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluation.json: what it is about, when it was made, and how it ended.

    `named` says where it comes from, for people; `given` that whoever builds the image named it, rather than
    that it lay on the run, where whoever may write to MLflow can put one.
    """

    named: str
    given: bool
    verdict: str
    at: str
    lock: str
    model_files: str
    document_json: str

    @property
    def document(self) -> Any:
        """The predicate of a statement, parsed anew each time."""
        return json.loads(self.document_json)


def evaluated_of(text: str, *, named: str, given: bool) -> Evaluated:
    """The evaluation that this text is; anybody may have written it.

    Raises:
        NotEvaluated: it is none, or one that could not be done.
    """
    try:
        document = json.loads(text)
        if document.get("status", "done") != "done":
            raise NotEvaluated(f"{named} tells of an evaluation that could not be done")
        kept = {key: value for key, value in document.items() if key not in _AROUND}
        return Evaluated(
            named=named,
            given=given,
            verdict=str(kept["verdict"]),
            at=str(kept["evaluatedAt"]),
            lock=str(kept["candidate"]["lock"]),
            model_files=str(kept["candidate"]["modelFiles"]),
            document_json=json.dumps(kept),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotEvaluated(f"{named} is no evaluation of `runbake evaluate`: {error!r}"[:300]) from error


def fitting(found: Sequence[Evaluated], *, lock: str, model_files: str) -> Evaluated | None:
    """The newest that is about these files and this lock; of two at one time, the one that did not pass."""
    about = [one for one in found if (one.lock, one.model_files) == (lock, model_files)]
    return max(about, key=lambda one: (one.at, one.verdict != PASSED), default=None)


def check_passed(found: Evaluated | None, *, platform: str, lock: str, run_id: str) -> None:
    """Refuse what nobody evaluated, or what did not pass.

    Raises:
        NotEvaluated: it is so; the message says why.
    """
    if found is None:
        raise NotEvaluated(
            f"no evaluation is about these files of run {run_id} with this lock ({platform}, {lock[:19]}…)",
            hint=f"runbake evaluate {run_id} --data FILE --target COLUMN --gate … --record; "
            "with the same --base and --with as here",
        )
    if found.verdict != PASSED:
        why = "has no gates" if found.verdict == "no gates" else f"says {found.verdict[:40]}"
        raise NotEvaluated(f"{found.named} of {found.at[:40]} {why}, and `{PASSED}` is required ({platform})")
