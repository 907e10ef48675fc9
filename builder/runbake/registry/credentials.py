"""Credentials from Docker's own configuration, and Amazon ECR's login."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbake.errors import RegistryAuthError
from runbake.registry.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = ("index.docker.io", DOCKER_HUB, "registry-1.docker.io")
_IDENTITY_TOKEN = "<token>"  # noqa: S105 -- the user name by which helpers mark an identity token
_HELPER_TIMEOUT_S = 30


class Secret:
    """A text that shows itself only when asked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "********"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and password; with `identity_token`, the password is an OAuth2 refresh token."""

    username: str
    password: Secret
    identity_token: bool = False


class CredentialSource:
    """Looks up credentials in a Docker `config.json`, as `docker login` leaves it.

    Source: docker/cli, "Credential store" and "Credential helpers"; its `ConvertToHostname` for keys.
    """

    def __init__(self, config: Path) -> None:
        self._config = config

    def credentials_for(self, host: str) -> Credentials | None:
        """The credentials of a registry host, None where there are none.

        Raises:
            RegistryAuthError: the configuration is broken, or its helper is missing or failed.
        """
        document = self._document()
        helper = _looked_up(_table(document, "credHelpers"), host) or document.get("credsStore")
        if helper and (found := self._from_helper(str(helper), _key(host))) is not None:
            return found
        entry = _looked_up(_table(document, "auths"), host)
        return self._from_entry(entry if isinstance(entry, dict) else {}, host) or _from_ecr(host)

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self._config.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._broken(error.strerror or "it cannot be read") from error
        except ValueError:
            # Not `from` it: the decoder's error carries the whole text, passwords and all.
            raise self._broken("it is not JSON") from None
        return document if isinstance(document, dict) else {}

    def _broken(self, problem: str) -> RegistryAuthError:
        return RegistryAuthError(
            f"cannot read {self._config}: {problem}",
            hint="mend it, or point DOCKER_CONFIG at another directory",
        )

    def _from_entry(self, entry: dict[str, Any], host: str) -> Credentials | None:
        if token := entry.get("identitytoken"):
            return Credentials(username=_IDENTITY_TOKEN, password=Secret(str(token)), identity_token=True)
        if encoded := entry.get("auth"):
            return self._decoded(str(encoded), host)
        if (username := entry.get("username")) and (password := entry.get("password")):
            return Credentials(username=str(username), password=Secret(str(password)))
        return None

    def _decoded(self, encoded: str, host: str) -> Credentials:
        try:
            username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            # Not `from` it: the decoder's error carries the password.
            colon = ""
        if not colon:
            raise RegistryAuthError(
                f"the entry of {host} in {self._config} is broken", hint=f"docker login {host}"
            )
        # Old versions of Docker padded with NUL.
        return Credentials(username=username, password=Secret(password.strip("\0")))

    def _from_helper(self, helper: str, key: str) -> Credentials | None:
        program = f"docker-credential-{helper}"
        try:
            done = subprocess.run(
                [program, "get"],
                input=key.encode(),
                capture_output=True,
                timeout=_HELPER_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RegistryAuthError(
                f"the credential helper {program}, named in {self._config}, cannot be run",
                hint=f"install {program}, or remove it from the file",
            ) from error
        if done.returncode != 0:
            if b"credentials not found" in done.stdout + done.stderr:
                return None
            raise RegistryAuthError(
                f"the credential helper {program} failed for {key} (exit {done.returncode})",
                hint=f"try it by hand: echo {key} | {program} get",
            )
        return _parsed(done.stdout, program, key)


def _parsed(answer: bytes, program: str, key: str) -> Credentials:
    try:
        document = json.loads(answer)
        username, secret = str(document["Username"]), Secret(str(document["Secret"]))
    except (ValueError, KeyError, TypeError):
        # Not `from` it: the decoder's error quotes the answer.
        raise RegistryAuthError(f"the credential helper {program} gave no credentials for {key}") from None
    return Credentials(username=username, password=secret, identity_token=username == _IDENTITY_TOKEN)


def _key(host: str) -> str:
    """What `docker login` calls a host."""
    return _HUB_KEY if host == DOCKER_HUB else host


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _looked_up(table: dict[str, Any], host: str) -> Any:
    """The entry of a host: under its own key, else under an address on that host."""
    if _key(host) in table:
        return table[_key(host)]
    names = _HUB_NAMES if host == DOCKER_HUB else (host,)
    by_host = {_hostname(key): value for key, value in table.items()}
    return next((by_host[name] for name in names if name in by_host), None)


def _hostname(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _from_ecr(host: str) -> Credentials | None:
    from runbake.aws import ecr_password, ecr_region  # boto3 takes half a second, and is optional

    region = ecr_region(host)
    if not region:
        return None
    return Credentials(username="AWS", password=Secret(ecr_password(host, region)))
