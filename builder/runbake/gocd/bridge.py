"""A server between the mlflow-gocd plugin and a current MLflow: it reads, and has no way to write.

What it can do is what `Reads` can: list experiments and promoted runs. There is no route that forwards
anything, and no method of MLflow's that changes something is within its reach.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from runbake.errors import ConfigError, InvalidReference, RunbakeError, RunNotFound
from runbake.gocd import dialect
from runbake.tracking import PromotedFacts

MOST_BODY_BYTES = 4096
"""The plugin's search has 60."""

_HOME = """<!doctype html>
<meta charset="utf-8"><title>runbake bridge</title>
<p>The bridge between GoCD's mlflow-gocd plugin and MLflow. <a href="/experiments">Experiments</a></p>
<script>
const run = location.hash.match(/[/]runs[/]([0-9a-f]{32})$/);
if (run) location.replace("/runs/" + run[1]);
</script>
"""


class Reads(Protocol):
    """What the bridge may ask of MLflow."""

    def experiments(self) -> tuple[tuple[str, str], ...]:
        """Ids and names."""

    def promoted_in(self, experiment_id: str) -> tuple[PromotedFacts, ...]:
        """Its promoted, finished runs."""

    def page_of_run(self, run_id: str) -> str:
        """The run's page."""

    def describe(self) -> str:
        """Where it is, if it answers."""


class Figures:
    """Counts of answers, for Prometheus."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, int]] = Counter()
        self._mutex = threading.Lock()

    def count(self, route: str, status: int) -> None:
        """One more answer."""
        with self._mutex:
            self._answers[route, status] += 1

    def text(self) -> str:
        """The figures in Prometheus' text format."""
        with self._mutex:
            rows = sorted(self._answers.items())
        lines = [
            "# HELP runbake_bridge_answers_total Answers by route and status.",
            "# TYPE runbake_bridge_answers_total counter",
            *(
                f'runbake_bridge_answers_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in rows
            ),
        ]
        return "\n".join(lines) + "\n"


class Bridge:
    """The plugin's calls, answered from `reads`; `tell` gets one line for each answer that is an error."""

    def __init__(self, reads: Reads, *, tag: str, tell: Callable[[str], None]) -> None:
        self._reads, self._tag, self._tell = reads, tag, tell
        self.figures = Figures()

    def experiment(self, query: str) -> Response:
        """`experiments/get`."""
        number, _, name = self._experiment(dialect.number_of(query))
        return JSONResponse(dialect.answer_to_get(number, name))

    def search(self, body: bytes) -> Response:
        """`runs/search`; an experiment with nothing promoted is a 404, which GoCD shows as it is."""
        number, id_, name = self._experiment(dialect.searched(body))
        runs = self._reads.promoted_in(id_)
        if not runs:
            raise RunNotFound(
                f"no finished run of experiment {name!r} ({id_}) has the tag {self._tag}",
                hint="this error in GoCD ends with the first promotion: runbake promote RUN",
            )
        return JSONResponse(dialect.answer_to_search(runs, number))

    def listing(self) -> str:
        """Every experiment: the number for EXPERIMENT_ID, MLflow's own id, the name."""
        rows = [
            f"{dialect.short_id(id_):>10}  {id_:>19}  {''.join(c if c.isprintable() else ' ' for c in name)}"
            for id_, name in self._reads.experiments()
            if id_.isdigit()
        ]
        return "\n".join(["EXPERIMENT_ID      MLflow's own id  name", *rows]) + "\n"

    def run_page(self, run_id: str) -> Response:
        """Where the plugin's trackback link leads to."""
        page = self._reads.page_of_run(run_id)
        if urlsplit(page).scheme not in ("http", "https"):
            raise RunNotFound(f"MLflow has no page for run {run_id}")
        return RedirectResponse(page)

    def health(self) -> Response:
        """200 while MLflow answers."""
        self._reads.experiments()
        return JSONResponse({"status": "ok", "mlflow": self._reads.describe()})

    def answered(self, route: str, answer: Callable[[], Response]) -> Response:
        """The answer, or the failure in MLflow's form; either is counted."""
        try:
            response = answer()
        except (InvalidReference, ConfigError) as error:
            response = _refused(400, "INVALID_PARAMETER_VALUE", error)
        except RunNotFound as error:
            response = _refused(404, "RESOURCE_DOES_NOT_EXIST", error)
        except RunbakeError as error:
            self._tell(f"{route}: {error}")
            response = _refused(503, "TEMPORARILY_UNAVAILABLE", error)
        self.figures.count(route, response.status_code)
        return response

    def _experiment(self, number: int) -> tuple[int, str, str]:
        found = dialect.experiment_of(number, self._reads.experiments())
        if found is None:
            raise RunNotFound(f"there is no experiment {number}", hint="GET /experiments lists them")
        return number, *found


def bridge_app(bridge: Bridge) -> Starlette:
    """The web application of a bridge."""

    def home(_request: Request) -> Response:
        return bridge.answered("home", lambda: HTMLResponse(_HOME))

    def experiment(request: Request) -> Response:
        query = request.query_params.get("experiment_id", "")
        return bridge.answered("experiment", lambda: bridge.experiment(query))

    async def search(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY_BYTES:
                return JSONResponse(dialect.refusal("INVALID_PARAMETER_VALUE", "too long"), status_code=413)
        return await run_in_threadpool(bridge.answered, "search", lambda: bridge.search(body))

    def listing(_request: Request) -> Response:
        return bridge.answered("experiments", lambda: PlainTextResponse(bridge.listing()))

    def run(request: Request) -> Response:
        return bridge.answered("run", lambda: bridge.run_page(request.path_params["run_id"]))

    def health(_request: Request) -> Response:
        return bridge.answered("health", bridge.health)

    def metrics(_request: Request) -> Response:
        return PlainTextResponse(bridge.figures.text())

    routes = [
        Route("/", home),
        Route("/experiments", listing),
        Route("/runs/{run_id}", run),
        Route("/health", health),
        Route("/metrics", metrics),
    ]
    # `/preview/` is what the plugin's releases before November 2023 ask.
    for base in ("/api/2.0/mlflow", "/api/2.0/preview/mlflow"):
        routes.append(Route(f"{base}/experiments/get", experiment))
        routes.append(Route(f"{base}/runs/search", search, methods=["POST"]))
    return Starlette(routes=routes)


def _refused(status: int, code: str, error: RunbakeError) -> Response:
    text = f"{error}; {error.hint}" if error.hint else str(error)
    return Response(
        json.dumps(dialect.refusal(code, text)), status_code=status, media_type="application/json"
    )
