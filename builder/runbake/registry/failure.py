"""A registry's refusals, as errors that say what to do."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import requests

from runbake.errors import ManifestNotFound, RegistryAuthError, RegistryError

_SHOWN = 300


def redacted_url(url: str) -> str:
    """The URL without user, password and query: upload URLs carry state there, and redirects signatures."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def is_full(response: requests.Response) -> bool:
    """Whether the registry says that its disk is full."""
    return response.status_code == 507 or (
        response.status_code >= 500 and "no space left" in response.text.lower()
    )


def error_of(method: str, response: requests.Response) -> RegistryError:
    """The error for an answer that was not wanted."""
    host = urlsplit(response.url).netloc.rpartition("@")[2]
    problem = f"{method} {redacted_url(response.url)} answered {response.status_code}{_codes(response)}"
    if response.status_code in (401, 403):
        return RegistryAuthError(problem, hint=f"docker login {host}; the account needs push and pull")
    if response.status_code == 404:
        return ManifestNotFound(
            problem,
            hint="check host, name, tag and digest; some registries want the "
            "repository to be created first (aws ecr create-repository)",
        )
    if is_full(response):
        return RegistryError(
            f"{problem}: the registry's disk is full", hint="free space there, then run again"
        )
    return RegistryError(problem, hint="the registry's own log says more; run again, nothing was tagged")


def _codes(response: requests.Response) -> str:
    try:
        errors = response.json()["errors"]
        told = "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors)
    except (requests.JSONDecodeError, KeyError, TypeError, AttributeError):
        told = response.text.strip()
    return f": {told[:_SHOWN]}" if told else ""
