"""Where the engine is that `docker` itself would talk to: DOCKER_HOST, else Docker's active context.

The SDK's own reader of contexts asks the process's environment again and ends in bare exceptions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runbake.errors import ConfigError

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address of an engine. `certificates` holds ca.pem, cert.pem and key.pem; None is without TLS."""

    context: str
    host: str
    certificates: Path | None
    verify: bool


def active_endpoint(environment: Mapping[str, str]) -> Endpoint | None:
    """The endpoint of the active context; None where DOCKER_HOST or the default socket holds.

    Raises:
        ConfigError: the context that is named does not exist, or cannot be read.

    Source: Docker CLI, "docker context": DOCKER_HOST wins over DOCKER_CONTEXT, that over the configuration.
    """
    if environment.get("DOCKER_HOST"):
        return None
    directory = Path(environment.get("DOCKER_CONFIG") or Path(environment.get("HOME", "/")) / ".docker")
    name = environment.get("DOCKER_CONTEXT") or _current(directory / "config.json")
    return None if name in ("", DEFAULT) else _endpoint(name, directory / "contexts")


def _current(config: Path) -> str:
    try:
        document = json.loads(config.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {config}: {error}", hint="repair it, or set DOCKER_HOST") from error
    name = document.get("currentContext", "") if isinstance(document, dict) else ""
    return name if isinstance(name, str) else ""


def _endpoint(name: str, contexts: Path) -> Endpoint:
    hashed = hashlib.sha256(name.encode()).hexdigest()
    meta = contexts / "meta" / hashed / "meta.json"
    try:
        docker = json.loads(meta.read_bytes())["Endpoints"]["docker"]
        host, skip = str(docker["Host"]), bool(docker.get("SkipTLSVerify", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"Docker's context {name!r} cannot be read: {error}",
            hint="`docker context ls` lists them; `docker context use default`, or set DOCKER_HOST",
        ) from error
    certificates = contexts / "tls" / hashed / "docker"
    return Endpoint(
        context=name,
        host=host,
        certificates=certificates if certificates.is_dir() else None,
        verify=not skip,
    )
