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

    Source: docker/cli, "Credential store" and "Credential helpers".
    """

    def __init__(self, config: Path) -> None:
        self._config = config

    def credentials_for(self, host: str) -> Credentials | None:
        """The credentials of a registry host, None where there are none.

        Raises:
            RegistryAuthError: the configuration is broken, or its helper is missing or failed.
        """
        document = self._document()
        key = _HUB_KEY if host == DOCKER_HUB else host
        helper = document.get("credHelpers", {}).get(host) or document.get("credsStore")
        if helper and (found := self._from_helper(str(helper), key)) is not None:
            return found
        auths: dict[str, Any] = document.get("auths", {})
        entry = auths.get(key) or auths.get(f"https://{host}") or {}
        return self._from_entry(entry, host) or _from_ecr(host)

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self._config.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RegistryAuthError(
                f"cannot read {self._config}", hint="mend it, or point DOCKER_CONFIG at another directory"
            ) from error
        return document if isinstance(document, dict) else {}

    def _from_entry(self, entry: dict[str, Any], host: str) -> Credentials | None:
        if token := entry.get("identitytoken"):
            return Credentials(username=_IDENTITY_TOKEN, password=Secret(token), identity_token=True)
        if not (encoded := entry.get("auth")):
            return None
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise RegistryAuthError(
                f"the entry of {host} in {self._config} is broken", hint=f"docker login {host}"
            ) from error
        return Credentials(username=username, password=Secret(password))

    def _from_helper(self, helper: str, key: str) -> Credentials | None:
        program = f"docker-credential-{helper}"
        try:
            done = subprocess.run(
                [program, "get"],
                input=key,
                capture_output=True,
                text=True,
                timeout=_HELPER_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RegistryAuthError(
                f"the credential helper {program}, named in {self._config}, cannot be run",
                hint=f"install {program}, or remove it from the file",
            ) from error
        if done.returncode != 0:
            if "credentials not found" in done.stdout + done.stderr:
                return None
            raise RegistryAuthError(
                f"the credential helper {program} failed for {key} (exit {done.returncode})",
                hint=f"try it by hand: echo {key} | {program} get",
            )
        try:
            answer = json.loads(done.stdout)
            username, secret = str(answer["Username"]), Secret(str(answer["Secret"]))
        except (ValueError, KeyError, TypeError):
            raise RegistryAuthError(
                f"the credential helper {program} gave no credentials for {key}"
            ) from None
        return Credentials(username=username, password=secret, identity_token=username == _IDENTITY_TOKEN)


def _from_ecr(host: str) -> Credentials | None:
    from runbake.aws import ecr_password, ecr_region  # boto3 takes half a second, and is optional

    region = ecr_region(host)
    if not region:
        return None
    return Credentials(username="AWS", password=Secret(ecr_password(host, region)))
