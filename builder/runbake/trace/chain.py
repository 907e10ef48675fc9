"""The chain from any stop back to the run, made from what the stop itself carries; and from a run forward."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.provenance import parse_label_file, rfc3339, run_documents
from runbake.redaction import redacted
from runbake.tracking import RunRecord, RunRef, Tracking

SHOWN = 6
"""Parameters and metrics on the one line of the text form; JSON has all of them."""

SHOWN_CHARACTERS = 120
"""Of one value on a line of the text form: anybody may log a parameter of 100 kB."""

_LONGEST_STOP = 500

_PLACES = ("uri", "url", "path", "table_name", "delta_table_name", "name", "sql")
"""Where the kinds of MLflow's dataset sources keep what a person calls them, the most telling first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One stop of the chain: its kind and what to call it."""

    stop: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """From the reference that was asked about back to the run, or from a run forward.

    `body` is the label file, b"" without one; `facts` is what MLflow says of the run, None where it was not
    asked. `missed` is what could not be reached, each once, and why.
    """

    links: tuple[Link, ...]
    run_id: str
    body: bytes = b""
    facts: dict[str, Any] | None = None
    missed: tuple[str, ...] = ()

    def missing(self, what: str) -> Chain:
        """The chain with one thing more that could not be reached; secrets in it are replaced."""
        return replace(self, missed=tuple(dict.fromkeys((*self.missed, redacted(what)))))

    def to_json(self) -> dict[str, Any]:
        """The chain as a document, the label file whole."""
        return {
            "run": self.run_id,
            "links": [{"stop": link.stop, "text": link.text} for link in self.links],
            "provenance": parse_label_file(self.body) if self.body else None,
            "mlflow": self.facts,
            "notReached": list(self.missed),
        }


def chain_of_label_file(body: bytes, *carriers: tuple[str, str]) -> Chain:
    """The chain that a label file tells, behind the stops that carried it.

    Raises:
        TraceError: the bytes are not a label file.
    """
    try:
        document: dict[str, Any] = parse_label_file(body)
        told = _links(_told(document))
        run_id = str(document["run"]["id"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # Any server can answer anything.
        raise TraceError(f"{carriers[0][1]} carries no label file of runbake: {error!r}"[:500]) from error
    links = _links((*carriers, ("label file", str(Digest.of(body)))))
    return Chain(links=(*links, *told), run_id=run_id, body=body)


def chain_of_words(told: tuple[tuple[str, str], ...], run_id: str) -> Chain:
    """A chain of what stops say by themselves, where no label file can be had; secrets are replaced."""
    links = tuple(Link(stop=stop, text=_short_of(text)) for stop, text in told if text)
    return Chain(links=links, run_id=run_id)


def _links(told: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> tuple[Link, ...]:
    return tuple(Link(stop=stop, text=text) for stop, text in told if text)


def _told(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    run, model, environment = document["run"], document["model"], document["environment"]
    yield "model", " ".join(filter(None, (_registered(model), model["id"], model["flavor"])))
    yield "run", f"{run['id']} {run['name']}, experiment {run['experiment']['name']}, ended {run['endedAt']}"
    yield from _told_of_training(document)
    lock = environment["lock"]
    yield "lock", f"{lock['digest']}, {len(lock['wheels'])} wheels, Python {environment['python']}"
    yield "base", environment["base"]["digest"]
    yield "tool", f"{document['tool']['name']} {document['tool']['version']}"


def _told_of_training(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    run = document["run"]
    source = run["source"]
    yield "params", _pairs(run["parameters"])
    yield "metrics", _pairs({name: metric["value"] for name, metric in run["metrics"].items()})
    for data in document["data"]:
        yield "data", _dataset(data)
    dirty = "with uncommitted changes" if source.get("mlflow.source.git.dirty") == "true" else ""
    commit = source.get("mlflow.source.git.commit", "")
    yield "commit", " ".join(filter(None, (commit, source.get("mlflow.source.git.repoURL", ""), dirty)))
    yield "source", source.get("mlflow.source.name", "")


def _registered(model: dict[str, Any]) -> str:
    return (
        f"{model['registeredName']}/{model['registeredVersion']}"
        if model["registeredName"]
        else model["name"]
    )


def _pairs(values: dict[str, Any]) -> str:
    shown = [f"{name}={_short(str(value))}" for name, value in list(values.items())[:SHOWN]]
    more = len(values) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def _dataset(data: dict[str, Any]) -> str:
    """A dataset on one line: name, what it was for, MLflow's digest, rows, and where it came from."""
    rows = _document(data["profile"]).get("num_rows")
    parts = (
        f"{_short(data['name'])} ({data['context'] or 'no context'})",
        f"digest {_short(data['mlflowDigest']['value'])}" if data["mlflowDigest"]["value"] else "",
        f"{rows} rows" if isinstance(rows, int) else "",
        _origin(data),
    )
    return ", ".join(filter(None, parts))


def _origin(data: dict[str, Any]) -> str:
    kind, source = str(data["sourceType"]), _document(data["source"])
    places = [source[key] for key in _PLACES if isinstance(source.get(key), str) and source[key]]
    tags = source.get("tags")
    if not places and isinstance(tags, dict):
        # A dataset made by the training program itself: MLflow's source is that program.
        places = [str(tags[key]) for key in ("mlflow.source.name",) if tags.get(key)]
    if not places:
        return f"from {_short(kind)}" if kind else ""
    return f"from {_short(places[0])}" + (f" ({_short(kind)})" if kind else "")


def _document(text: object) -> dict[str, Any]:
    """A JSON object of MLflow's; an empty one where it is something else, such as cut short."""
    try:
        found = json.loads(str(text or "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def with_run_page(chain: Chain, tracking: Tracking) -> Chain:
    """The chain with the address of the run's page, when MLflow still has the run.

    Raises:
        TrackingError: it has not, or does not answer.
    """
    links = _links((("MLflow", tracking.page_of_run(chain.run_id)),))
    return replace(chain, links=(*chain.links, *links))


def chain_of_run(tracking: Tracking, ref: RunRef) -> Chain:
    """Forward from a run: what it is, and the models, images and endpoints that came from it.

    Raises:
        RunNotFound: MLflow does not know the run.
    """
    record = tracking.record_of(ref)
    documents: dict[str, Any] = run_documents(record)
    asked = (("asked", str(ref)),) if str(ref) != record.run_id else ()
    links = (
        *_links(asked),
        *_links(_told_of_run(record)),
        *_links(_told_of_training(documents)),
        *_links(_told_of_fruits(record)),
    )
    return Chain(links=links, run_id=record.run_id, facts={**documents, **_state_of(record)})


def _told_of_run(record: RunRecord) -> Iterator[tuple[str, str]]:
    ended = f" {rfc3339(record.end_time_ms)}" if record.end_time_ms else ""
    name = redacted(record.run_name)
    experiment = redacted(record.experiment_name)
    yield "run", f"{record.run_id} {name}, experiment {experiment}, {record.status.lower()}{ended}"
    at = f" at {rfc3339(record.promoted_at_ms)}" if record.promoted_at_ms is not None else ""
    yield "promoted", f"{record.promotion}{at}" if record.promotion else "by nobody"


def _told_of_fruits(record: RunRecord) -> Iterator[tuple[str, str]]:
    for name, model_id in record.models:
        yield "model", redacted(f"{name} {model_id}".strip())
    for one in record.versions:
        aliases = "".join(f" @{alias}" for alias in one.aliases)
        yield "registered", redacted(f"models:/{one.name}/{one.version}{aliases}")
    images = [value for key, value in record.stops if _is_image(key)]
    yield from (("image", _short_of(value)) for value in dict.fromkeys(images))
    if not images:
        yield "image", "none that runbake wrote on the run"
    for key, value in record.stops:
        kind, _, name = key.removeprefix("runbake.").partition(".")
        if not _is_image(key) and kind != "promoted_at":
            yield kind.replace("_", " "), _short_of(" ".join(filter(None, (name, value))))


def _is_image(key: str) -> bool:
    # runbake.image names the latest, runbake.image.<12 hex> each of them.
    return key == "runbake.image" or key.startswith("runbake.image.")


def _short_of(value: str) -> str:
    """What stands in a tag, which anybody may have written; longer than any reference is nobody's."""
    text = redacted(value)
    return text if len(text) <= _LONGEST_STOP else f"{text[: _LONGEST_STOP - 1]}…"


def _state_of(record: RunRecord) -> dict[str, Any]:
    return {
        "status": record.status,
        "promotion": record.promotion,
        "promotedAt": rfc3339(record.promoted_at_ms) if record.promoted_at_ms is not None else None,
        "models": [{"name": name, "id": model_id} for name, model_id in record.models],
        "versions": [
            {"name": one.name, "version": one.version, "aliases": list(one.aliases)}
            for one in record.versions
        ],
        "stops": {key: redacted(value) for key, value in record.stops},
    }
