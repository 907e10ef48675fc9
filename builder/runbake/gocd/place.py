"""GoCD's own pages, by their URL: which pipeline run one is of, and which MLflow run that one built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from runbake.errors import NotInGocd
from runbake.tracking import RunRef

_PAGE = re.compile(
    r"(?P<root>(?:/[\w.~-]+){0,4}?)"
    r"/(?:pipelines(?:/value_stream_map)?|tab/(?:build/detail|pipeline/history)|files"
    r"|api/(?:pipelines|stages|jobs))"
    r"/(?P<pipeline>[^/]+)/(?P<counter>[0-9]{1,10})(?:/.*)?"
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_RUN_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A run of a pipeline; `server` is GoCD with its context root, without credentials."""

    server: str
    pipeline: str
    counter: int


def place_of(url: str) -> Place | None:
    """The pipeline run whose value stream map, stage, job, artifact or API answer the URL is; else None.

    Source: GoCD's routes, `/go/pipelines/value_stream_map/P/C`, `/go/pipelines/P/C/S/SC`,
    `/go/tab/build/detail/P/C/S/SC/J` and `/go/files/P/C/S/SC/J/…`.
    """
    parts = urlsplit(url)
    found = _PAGE.fullmatch(parts.path)
    if parts.scheme.lower() not in ("http", "https") or found is None:
        return None
    pipeline = unquote(found["pipeline"])
    if not _NAME.fullmatch(pipeline):
        return None
    host = parts.netloc.rpartition("@")[2].lower()
    return Place(
        server=f"{parts.scheme.lower()}://{host}{found['root']}",
        pipeline=pipeline,
        counter=int(found["counter"]),
    )


def run_built_in(instance: Mapping[str, Any]) -> RunRef:
    """The MLflow run that a pipeline's run is about: of its label, else of its only package material.

    Raises:
        NotInGocd: neither names one, or they name several.

    Source: https://api.gocd.org, "Get pipeline instance"; the label is as `runbake gocd pipeline` writes it.
    """
    ids = set(_RUN_ID.findall(str(instance.get("label", "")))) or _package_revisions(instance)
    if len(ids) != 1:
        listed = ", ".join(sorted(ids)) or "none"
        raise NotInGocd(
            f"label and package materials of {instance.get('name')}/{instance.get('counter')} name no single "
            f"run: {listed}",
            hint="pipelines of `runbake gocd pipeline` have the run in their label",
        )
    return RunRef.parse(ids.pop())


def _package_revisions(instance: Mapping[str, Any]) -> set[str]:
    cause = instance.get("build_cause")
    listed = cause.get("material_revisions") if isinstance(cause, dict) else None
    found = set()
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict) and str((each.get("material") or {}).get("type")) == "Package":
            for one in each.get("modifications") or []:
                # A revision of a pull request's build is `<promoted>;<run>;<run>…`.
                found |= set(_RUN_ID.findall(str(one.get("revision", "")).partition(";")[0]))
    return found
