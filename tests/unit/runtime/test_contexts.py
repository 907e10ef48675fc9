"""Which engine is meant: the one that `docker` itself would talk to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runbake.errors import ConfigError, EngineMissing
from runbake.runtime import Engine
from runbake.runtime.contexts import Endpoint, active_endpoint

HOST = "tcp://127.0.0.1:1"


def a_context(docker: Path, name: str, *, tls: bool = False) -> Path:
    """Docker's configuration directory with one context, as `docker context create` writes it."""
    hashed = hashlib.sha256(name.encode()).hexdigest()
    meta = docker / "contexts" / "meta" / hashed / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": HOST, "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    if tls:
        certificates = docker / "contexts" / "tls" / hashed / "docker"
        certificates.mkdir(parents=True)
        for file in ("ca", "cert", "key"):
            (certificates / f"{file}.pem").write_text(file)
    return docker


def choose(docker: Path, name: str) -> None:
    """What `docker context use` does."""
    (docker / "config.json").write_text(json.dumps({"currentContext": name, "auths": {}}))


@pytest.mark.parametrize("how", ["DOCKER_CONTEXT", "config.json"])
def test_the_active_context_is_the_engine(tmp_path: Path, how: str) -> None:
    """By environment or by configuration, with the certificates that belong to it."""
    docker = a_context(tmp_path / ".docker", "far away", tls=True)
    environment = {"HOME": str(tmp_path)}
    if how == "DOCKER_CONTEXT":
        choose(docker, "another")
        environment["DOCKER_CONTEXT"] = "far away"
    else:
        choose(docker, "far away")

    found = active_endpoint(environment)

    hashed = hashlib.sha256(b"far away").hexdigest()
    certificates = docker / "contexts" / "tls" / hashed / "docker"
    assert found == Endpoint(context="far away", host=HOST, certificates=certificates, verify=True)


def test_docker_host_wins(tmp_path: Path) -> None:
    """As for `docker`: a context is not even read then."""
    environment = {"HOME": str(tmp_path), "DOCKER_HOST": HOST, "DOCKER_CONTEXT": "none such"}

    assert active_endpoint(environment) is None


@pytest.mark.parametrize("name", ["", "default", None])
def test_without_a_context_the_default_holds(tmp_path: Path, name: str | None) -> None:
    """Nobody who never made one notices that there are contexts."""
    if name is not None:
        choose(tmp_path, name)

    assert active_endpoint({"DOCKER_CONFIG": str(tmp_path)}) is None


@pytest.mark.parametrize("meta", [None, "{", "[]", '{"Endpoints": {}}', '{"Endpoints": {"docker": 1}}'])
def test_a_context_that_cannot_be_read_is_an_error(tmp_path: Path, meta: str | None) -> None:
    """Never in silence another engine than the one that was chosen."""
    docker = a_context(tmp_path, "there")
    choose(docker, "gone" if meta is None else "there")
    if meta is not None:
        next(docker.glob("contexts/meta/*/meta.json")).write_text(meta)

    with pytest.raises(ConfigError, match="context") as caught:
        active_endpoint({"DOCKER_CONFIG": str(docker)})
    assert "docker context" in caught.value.hint


def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It may have named an engine."""
    (tmp_path / "config.json").write_text("{")

    with pytest.raises(ConfigError, match=r"config\.json"):
        active_endpoint({"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize("tls", [False, True])
def test_an_engine_that_does_not_answer_is_named_with_its_context(tmp_path: Path, tls: bool) -> None:
    """Also when its certificates are no certificates."""
    docker = a_context(tmp_path, "far away", tls=tls)
    choose(docker, "far away")

    with pytest.raises(EngineMissing, match=rf"{HOST}, of Docker's context far away"):
        Engine.connect({"DOCKER_CONFIG": str(docker)})
