"""`runbake trace` of a page of GoCD, with a real MLflow and the strict double of GoCD."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from runbake.cli import cli
from runbake.cli.context import Settings
from runbake.errors import ConfigError, GocdError
from runbake.gocd import GocdServer, session_with
from tests.contract.gocd.gocd_double import GocdDouble, serving
from tests.integration.gocd.conftest import Promoting


def test_a_page_of_gocd_leads_to_the_run(promoting: Promoting) -> None:
    """Job, stage and value stream map alike; the chain goes on with what came of the run."""
    run = promoting.run(promoting.experiment("traced"), end_ms=1_700_000_000_000, promote="true")
    promoting.tracking.record_image(run, {"runbake.image": "registry.example.org/m@sha256:abc"})
    double = GocdDouble("fraud")
    double.pipelines["fraud"].label_template = "${COUNT}-${env:RUNBAKE_RUN_ID}-${env:RUNBAKE_REQUEST}"
    with serving(double) as url:
        GocdServer(url, session=session_with(("trigger", "secret"))).schedule(
            "fraud", {"RUNBAKE_RUN_ID": run, "RUNBAKE_REQUEST": "0011223344556677"}
        )
        double.appear()

        def traced(page: str, server: str = url) -> list[tuple[str, str]]:
            environment = {"GOCD_TOKEN": "right", "RUNBAKE_GOCD_SERVER": server}
            words = ["trace", page, "--json", "--tracking-uri", promoting.uri]
            settings = Settings(environment=environment, console=Console(stderr=True))
            result = CliRunner().invoke(cli, words, obj=settings)
            if result.exception is not None:
                raise result.exception
            return [(link["stop"], link["text"]) for link in json.loads(result.stdout)["links"]]

        links = traced(f"{url}/tab/build/detail/fraud/1/containerize/1/containerize")
        assert links[0] == ("pipeline", f"fraud 1 1-{run}-0011223344556677")
        assert ("value stream", f"{url}/pipelines/value_stream_map/fraud/1") in links
        assert any(stop == "run" and text.startswith(run) for stop, text in links)
        assert ("image", "registry.example.org/m@sha256:abc") in links
        for page in ("pipelines/value_stream_map/fraud/1", "pipelines/fraud/1/containerize/1"):
            assert traced(f"{url}/{page}") == links

        asked = len(double.asked)
        with pytest.raises(ConfigError, match="no credentials go there"):
            traced(f"{url}/pipelines/fraud/1", server="https://ci.example.org/go")
        assert len(double.asked) == asked
        with pytest.raises(GocdError, match="404"):
            traced(f"{url}/pipelines/fraud/99")
