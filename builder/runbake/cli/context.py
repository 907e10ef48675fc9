"""What every command gets: the environment, read once, and the doors made from it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
from platformdirs import user_cache_path
from rich.console import Console

from runbake.base import Host
from runbake.cli.story import TerminalStory
from runbake.environment import find_uv
from runbake.errors import ConfigError
from runbake.registry import ATTEMPTS, CredentialSource, Registry
from runbake.release import Doors, Prover
from runbake.runtime import Engine
from runbake.store import LIMIT_BYTES, Store
from runbake.tracking import Tracking

_GIGABYTE = 10**9
_INSECURE = "runbake.insecure_registries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for a whole invocation; `environment` is the process's, read once in `main`."""

    environment: Mapping[str, str]
    console: Console


def settings() -> Settings:
    """The settings of the running command."""
    return click.get_current_context().find_object(Settings) or _missing()


def _missing() -> Settings:
    raise RuntimeError("a command runs outside `runbake.cli.main`")


def tracking_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--tracking-uri`."""
    return click.option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=True,
        metavar="URI",
        help="The MLflow server. Its credentials come from MLflow's own variables.",
    )(command)


def cache_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--cache`."""
    return click.option(
        "--cache",
        envvar="RUNBAKE_CACHE",
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False),
        default=user_cache_path("runbake"),
        show_default="the user's cache directory",
        help="Where layers and unpacked bases are kept between builds.",
    )(command)


def cache_limit_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--cache-limit`."""
    return click.option(
        "--cache-limit",
        envvar="RUNBAKE_CACHE_LIMIT",
        show_envvar=True,
        type=click.FloatRange(min=0),
        default=LIMIT_BYTES / _GIGABYTE,
        show_default=True,
        metavar="GB",
        help="What was used least recently goes when a build ends and the cache holds more.",
    )(command)


def local_artifacts_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--local-artifacts`."""
    return click.option(
        "--local-artifacts",
        envvar="RUNBAKE_LOCAL_ARTIFACTS",
        show_envvar=True,
        is_flag=True,
        help="Let an MLflow server over HTTP name directories of this machine, and read them.",
    )(command)


def insecure_registry_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--insecure-registry`, which `open_registries` asks for."""
    return click.option(
        "--insecure-registry",
        "insecure_registries",
        envvar="RUNBAKE_INSECURE_REGISTRIES",
        show_envvar=True,
        multiple=True,
        metavar="HOST[:PORT]",
        expose_value=False,
        callback=lambda context, _option, hosts: context.meta.update({_INSECURE: hosts}),
        help="Speak plain http to this registry; repeat for more. Loopback hosts need no flag.",
    )(command)


def promote_tag_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--promote-tag`."""
    return click.option(
        "--promote-tag",
        envvar="RUNBAKE_PROMOTE_TAG",
        default="promote=true",
        show_default=True,
        metavar="NAME=VALUE",
        help="The run tag that means promoted.",
    )(command)


def open_tracking(
    uri: str | None, *, promote_tag: str = "promote=true", local_artifacts: bool = False
) -> Tracking:
    """The door to MLflow.

    Raises:
        ConfigError: no server is named.
    """
    if not uri:
        raise ConfigError("no MLflow server is named", hint="pass --tracking-uri, or set MLFLOW_TRACKING_URI")
    name, _, value = promote_tag.partition("=")
    if not name or not value:
        raise ConfigError(f"--promote-tag wants NAME=VALUE, not {promote_tag!r}")
    if name.startswith(("mlflow.", "runbake.")):
        raise ConfigError(
            f"--promote-tag cannot be {name!r}: MLflow and runbake keep facts of the run under such names",
            hint="choose a name of your own, such as promote=true",
        )
    return Tracking(uri, promote_tag=(name, value), local_artifacts=local_artifacts)


def credential_source() -> CredentialSource:
    """Registry credentials from Docker's own configuration."""
    environment = settings().environment
    directory = environment.get("DOCKER_CONFIG") or str(Path(environment.get("HOME", "/")) / ".docker")
    return CredentialSource(Path(directory) / "config.json")


def open_registries(*, attempts: int = ATTEMPTS) -> Callable[[str], Registry]:
    """One client for each host, made when it is first asked for; a request has so many `attempts`."""
    credentials, insecure = credential_source(), click.get_current_context().meta.get(_INSECURE, ())
    return cache(
        lambda host: Registry(
            host, credentials=credentials, insecure=True if host in insecure else None, attempts=attempts
        )
    )


def reach_engine() -> Engine:
    """The container engine that the environment names, for looking only."""
    return Engine.connect(settings().environment)


def open_engine() -> Engine:
    """The container engine that the environment names, without what killed commands with this cache left."""
    engine = reach_engine()
    with Store(_cache_of_command()).left_marks() as left:
        engine.sweep(left)
    return engine


def _cache_of_command() -> Path:
    """The cache of the running command; of one without `--cache` the environment's, or the user's."""
    chosen = click.get_current_context().params.get("cache") or settings().environment.get("RUNBAKE_CACHE")
    return Path(chosen) if chosen else user_cache_path("runbake")


def engine_auth(host: str) -> Mapping[str, str] | None:
    """What the engine needs to pull from a host, in its API's words; None without credentials."""
    found = credential_source().credentials_for(host)
    if found is None:
        return None
    if found.identity_token:
        return {"identitytoken": found.password.reveal()}
    return {"username": found.username, "password": found.password.reveal()}


def open_prover(cache_dir: Path) -> Prover:
    """What a proof needs.

    Raises:
        EngineMissing: no container engine answers.
    """
    return Prover(
        engine=open_engine(),
        engine_auth=engine_auth,
        uv=find_uv(settings().environment),
        store=Store(cache_dir),
        story=TerminalStory(settings().console),
    )


def open_doors(
    tracking_uri: str | None,
    cache_dir: Path,
    *,
    cache_limit_gb: float,
    local_artifacts: bool,
    promote_tag: str,
) -> Doors:
    """Every door of a release."""
    environment, machine = settings().environment, platform.uname()
    return Doors(
        tracking=open_tracking(tracking_uri, promote_tag=promote_tag, local_artifacts=local_artifacts),
        registry=open_registries(),
        prover=cache(lambda: open_prover(cache_dir)),
        uv=find_uv(environment),
        store=Store(cache_dir, limit_bytes=round(cache_limit_gb * _GIGABYTE)),
        host=Host(system=machine.system, machine=machine.machine, search_path=environment.get("PATH", "")),
        story=TerminalStory(settings().console),
    )
