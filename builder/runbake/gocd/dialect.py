"""The MLflow of 2018 that the mlflow-gocd plugin speaks: its one search, answered in its words. Pure.

The plugin (indix/mlflow-gocd 91bb69f) sends experiment ids as JSON integers, reads every number as a text,
parses the experiment's id into 32 bits, sees one page, and takes the promoted run that ended last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from runbake.errors import ConfigError, InvalidReference
from runbake.tracking import PromotedFacts

LARGEST_ID = 2**31 - 1
"""What Java's Integer.parseInt takes at most."""

MOST_RUNS = 1000
"""In one answer; the plugin looks for the latest promotion only."""

_SHORT_FROM = 1_500_000_000


def short_id(experiment_id: str) -> int:
    """The number by which the plugin names an experiment: its id, or one made of it if that is too long."""
    number = int(experiment_id)
    if number <= LARGEST_ID:
        return number
    digest = hashlib.sha256(experiment_id.encode()).digest()
    return _SHORT_FROM + int.from_bytes(digest[:8], "big") % (LARGEST_ID - _SHORT_FROM + 1)


def experiment_of(number: int, experiments: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The experiment (id and name) that a number means; None for none.

    Raises:
        ConfigError: two long ids have one short number.
    """
    found = [
        each for each in experiments if each[0].isdigit() and number in (int(each[0]), short_id(each[0]))
    ]
    if len(found) > 1:
        listed = ", ".join(id_ for id_, _ in found)
        raise ConfigError(
            f"{number} could be experiment {listed}", hint="copy one of them into a new experiment"
        )
    return found[0] if found else None


def searched(body: bytes) -> int:
    """The experiment that a search of the plugin names.

    Raises:
        InvalidReference: it is no search of the plugin's.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidReference(
            "the body is no JSON", hint="the bridge answers mlflow-gocd's searches"
        ) from error
    if not isinstance(asked, dict) or asked.keys() - {"experiment_ids", "run_view_type"}:
        raise InvalidReference(
            "only experiment_ids and run_view_type are known here",
            hint="ask MLflow itself for other searches",
        )
    ids = asked.get("experiment_ids")
    view = asked.get("run_view_type", "ACTIVE_ONLY")
    if not isinstance(ids, list) or len(ids) != 1 or view != "ACTIVE_ONLY":
        raise InvalidReference("experiment_ids must hold one number, run_view_type ACTIVE_ONLY")
    return number_of(ids[0])


def number_of(value: object) -> int:
    """An experiment's number as the plugin writes it: a JSON integer, or digits in a query.

    Raises:
        InvalidReference: it is neither.
    """
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 19:
        raise InvalidReference(
            f"no experiment id: {text[:40]!r}", hint="a number, as `bridge --list` shows it"
        )
    return int(text)


def answer_to_search(runs: Sequence[PromotedFacts], number: int) -> dict[str, object]:
    """The promoted runs in the old dialect, the latest promotion first.

    `end_time` is the moment of the promotion where that is known: the plugin takes the greatest, so that the
    run promoted last wins, and not the run that ended last.
    """
    latest = sorted(runs, key=lambda run: (run.at_ms, run.run_id), reverse=True)[:MOST_RUNS]
    return {"runs": [_run(run, number) for run in latest]}


def answer_to_get(number: int, name: str) -> dict[str, object]:
    """The experiment in the old dialect."""
    return {"experiment": {"experiment_id": str(number), "name": name, "lifecycle_stage": "active"}}


def refusal(code: str, message: str) -> dict[str, str]:
    """An error in MLflow's form."""
    return {"error_code": code, "message": message}


def _run(run: PromotedFacts, number: int) -> dict[str, object]:
    tags = {**dict(run.tags), **({"user": run.user} if run.user else {})}
    return {
        "info": {
            "run_uuid": run.run_id,
            "run_id": run.run_id,
            "experiment_id": str(number),
            "user_id": run.user,
            "status": "FINISHED",
            "start_time": str(run.start_time_ms),
            "end_time": str(run.at_ms),
            "artifact_uri": run.artifact_uri,
            "lifecycle_stage": "active",
        },
        "data": {"tags": [{"key": key, "value": value} for key, value in sorted(tags.items())]},
    }
