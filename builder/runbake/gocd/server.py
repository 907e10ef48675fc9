"""GoCD's API over HTTP: schedule a pipeline, and find the run that came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import requests
from requests.auth import AuthBase

from runbake.errors import ConfigError, GocdAuthError, GocdError, GocdUnreachable, PipelineBusy

PAGE = 100
"""Pipeline runs in one page of the history; GoCD takes 10 to 100."""

MOST_PAGES: Final = 5

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_USERINFO = re.compile(r"(?<=://)[^/@\s\"']{1,400}@")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun:
    """One run of a pipeline; `url` is its value stream map."""

    pipeline: str
    counter: int
    label: str
    url: str


class Bearer(AuthBase):
    """A personal access token; its `repr` shows nothing."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"bearer {self._token}"
        return request


class GocdServer:
    """A GoCD server's pipelines API.

    Args:
        url: the server with its context root, such as `https://ci.example.org:8154/go`.
        session: carries credentials (`Bearer`, or a user and password) and the certificate authority.
        timeout_s: how long one answer may take to begin.

    Raises (every method):
        GocdUnreachable: no answer, too late, or not GoCD's. Of `schedule` it means: perhaps scheduled.
        GocdAuthError: 401 or 403.
        GocdError: any other refusal, with GoCD's own message.

    Source: https://api.gocd.org, "Pipelines" and "Pipeline Instances".
    """

    def __init__(self, url: str, *, session: requests.Session, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(
                f"--server is no URL: {_clean(url)!r}", hint="like https://ci.example.org:8154/go"
            )
        if "@" in parts.netloc:
            raise ConfigError("--server must not hold credentials", hint="pass them in GOCD_TOKEN")
        self.url = url.rstrip("/")
        self._session, self._timeout_s = session, timeout_s

    def schedule(self, pipeline: str, variables: Mapping[str, str]) -> None:
        """Ask for a run of the pipeline with these variables; it appears in the history later.

        Raises:
            PipelineBusy: 409: paused, locked, or its first stage is running.
        """
        listed = [{"name": name, "value": value} for name, value in sorted(variables.items())]
        self._json(
            "POST",
            f"/api/pipelines/{named(pipeline)}/schedule",
            body={"environment_variables": listed, "update_materials_before_scheduling": True},
        )

    def runs(self, pipeline: str, *, page_size: int = PAGE) -> Iterator[PipelineRun]:
        """The pipeline's runs, newest first, one request for each page as it is read."""
        path: str | None = f"/api/pipelines/{named(pipeline)}/history?page_size={page_size}"
        pages = 0
        while path is not None and pages < MOST_PAGES:
            document, pages = self._json("GET", path), pages + 1
            for each in _list(document.get("pipelines")):
                yield self._run(each)
            path = self._next(document, pipeline)

    def find(self, pipeline: str, request: str, *, after: int = 0) -> PipelineRun | None:
        """The oldest run younger than the counter `after` whose label names the request.

        Without `after`, the latest 100 runs are looked at: nobody asked for this request, as far as is known.
        """
        found = None
        for seen, run in enumerate(self.runs(pipeline)):
            if run.counter <= after or (not after and seen >= PAGE):
                break
            if request in run.label:
                found = run
        return found

    def newest(self, pipeline: str) -> int:
        """The counter of the pipeline's latest run; 0 before the first."""
        return next((run.counter for run in self.runs(pipeline, page_size=10)), 0)

    def instance(self, pipeline: str, counter: int) -> Mapping[str, Any]:
        """One run of the pipeline with its label, materials and stages."""
        return self._json("GET", f"/api/pipelines/{named(pipeline)}/{counter}")

    def run_url(self, pipeline: str, counter: int) -> str:
        """The page of a pipeline's run: its value stream map."""
        return f"{self.url}/pipelines/value_stream_map/{quote(pipeline)}/{counter}"

    def _run(self, document: Mapping[str, Any]) -> PipelineRun:
        name, counter = str(document.get("name", "")), document.get("counter")
        if not isinstance(counter, int):
            raise GocdError(f"{self.url} lists a run without a counter")
        return PipelineRun(
            pipeline=name,
            counter=counter,
            label=str(document.get("label", "")),
            url=self.run_url(name, counter),
        )

    def _next(self, document: Mapping[str, Any], pipeline: str) -> str | None:
        link = _mapping(_mapping(document.get("_links")).get("next")).get("href")
        if not isinstance(link, str):
            return None
        # Only the cursor is taken from the link: its host may be the one that GoCD knows itself by.
        after = dict(parse_qsl(urlsplit(link).query)).get("after", "")
        if not after.isdigit():
            return None
        return f"/api/pipelines/{named(pipeline)}/history?page_size={PAGE}&after={after}"

    def _json(self, method: str, path: str, *, body: object = None) -> Mapping[str, Any]:
        headers = {"Accept": "application/vnd.go.cd.v1+json"}
        if method != "GET" and body is None:
            headers["X-GoCD-Confirm"] = "true"
        try:
            answer = self._session.request(
                method,
                f"{self.url}{path}",
                json=body,
                headers=headers,
                timeout=self._timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            said = _clean(str(error))
            raise GocdUnreachable(f"no answer from GoCD at {self.url}: {said}") from error
        return self._checked(answer, f"{method} {path.partition('?')[0]}")

    def _checked(self, answer: requests.Response, what: str) -> Mapping[str, Any]:
        status, document = answer.status_code, _document(answer)
        told = f"{self.url} answers {status} to {what}: {_clean(str(document.get('message') or answer.text))}"
        if status == 409:
            raise PipelineBusy(told)
        if status in (401, 403):
            raise GocdAuthError(told)
        if status == 404:
            raise GocdError(told, hint="is the pipeline's name right, and --server the URL with /go?")
        if status == 422:
            raise GocdError(told, hint="the pipeline must declare the variables; see `runbake gocd pipeline`")
        if status >= 500 or status == 429 or 300 <= status < 400:
            raise GocdUnreachable(told)
        if status >= 400 or not document:
            raise GocdError(told)
        return document


def session_with(credentials: Bearer | tuple[str, str]) -> requests.Session:
    """A session with a token, or a user and a password; TLS obeys `REQUESTS_CA_BUNDLE`."""
    session = requests.Session()
    session.auth = credentials
    return session


def named(pipeline: str) -> str:
    """The pipeline's name, fit for a path.

    Raises:
        ConfigError: GoCD allows no such name.
    """
    if not _NAME.fullmatch(pipeline):
        raise ConfigError(
            f"{pipeline[:80]!r} cannot be the name of a pipeline",
            hint="letters, digits, '_', '-' and '.', at most 255, not beginning with '-' or '.'",
        )
    return pipeline


def _document(answer: requests.Response) -> Mapping[str, Any]:
    try:
        document = answer.json()
    except requests.JSONDecodeError:
        return {}
    return _mapping(document)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _clean(text: str) -> str:
    return _USERINFO.sub("***@", _CONTROL.sub(" ", text))[:300].strip()
