"""The chain from any stop back to the run, made from what the stop itself carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.provenance import parse_label_file
from runbake.tracking import Tracking

SHOWN = 6
"""Parameters and metrics on the one line of the text form; JSON has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One stop of the chain: its kind and what to call it."""

    stop: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """From the reference that was asked about back to the run; `body` is the label file, b"" without one."""

    links: tuple[Link, ...]
    run_id: str
    body: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """The chain as a document, the label file whole."""
        return {
            "run": self.run_id,
            "links": [{"stop": link.stop, "text": link.text} for link in self.links],
            "provenance": parse_label_file(self.body) if self.body else None,
        }


def chain_of_label_file(body: bytes, *carriers: tuple[str, str]) -> Chain:
    """The chain that a label file tells, behind the stops that carried it.

    Raises:
        TraceError: the bytes are not a label file.
    """
    try:
        document: dict[str, Any] = parse_label_file(body)
        told = [Link(stop=stop, text=text) for stop, text in _told(document) if text]
        run_id = str(document["run"]["id"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # Any server can answer anything.
        raise TraceError(f"{carriers[0][1]} carries no label file of runbake: {error!r}"[:500]) from error
    links = [Link(stop=stop, text=text) for stop, text in carriers]
    links.append(Link(stop="label file", text=str(Digest.of(body))))
    return Chain(links=(*links, *told), run_id=run_id, body=body)


def _told(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    run, model, environment = document["run"], document["model"], document["environment"]
    source = run["source"]
    yield "model", " ".join(filter(None, (_registered(model), model["id"], model["flavor"])))
    yield "run", f"{run['id']} {run['name']}, experiment {run['experiment']['name']}, ended {run['endedAt']}"
    yield "params", _pairs(run["parameters"])
    yield "metrics", _pairs({name: metric["value"] for name, metric in run["metrics"].items()})
    for data in document["data"]:
        yield (
            "data",
            f"{data['name']} ({data['context'] or 'no context'}), {data['source'] or data['sourceType']}",
        )
    commit = source.get("mlflow.source.git.commit", "")
    yield "commit", " ".join(filter(None, (commit, source.get("mlflow.source.git.repoURL", ""))))
    yield "source", source.get("mlflow.source.name", "")
    lock = environment["lock"]
    yield "lock", f"{lock['digest']}, {len(lock['wheels'])} wheels, Python {environment['python']}"
    yield "base", environment["base"]["digest"]
    yield "tool", f"{document['tool']['name']} {document['tool']['version']}"


def _registered(model: dict[str, Any]) -> str:
    return (
        f"{model['registeredName']}/{model['registeredVersion']}"
        if model["registeredName"]
        else model["name"]
    )


def _pairs(values: dict[str, Any]) -> str:
    shown = [f"{name}={value}" for name, value in list(values.items())[:SHOWN]]
    more = len(values) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more > 0 else "")


def with_run_page(chain: Chain, tracking: Tracking) -> Chain:
    """The chain with the address of the run's page, when MLflow still has the run.

    Raises:
        TrackingError: it has not, or does not answer.
    """
    link = Link(stop="MLflow", text=tracking.page_of_run(chain.run_id))
    return replace(chain, links=(*chain.links, link))


def chain_of_run(tracking: Tracking, run_id: str) -> Chain:
    """Forward from a run: the images that were made from it.

    Raises:
        RunNotFound: MLflow does not know the run.
    """
    links = [Link(stop="run", text=run_id)]
    stops = dict.fromkeys((_stop(tag), value) for tag, value in tracking.stops_of(run_id))
    links += [Link(stop=stop, text=value) for stop, value in stops]
    return Chain(links=tuple(links), run_id=run_id)


def _stop(tag: str) -> str:
    # runbake.image and runbake.image.<12 hex> are both images; runbake.promoted_at is a time.
    return tag.split(".")[1].replace("_", " ")
