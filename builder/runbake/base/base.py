"""The base image, read once: what it is made of and what its Python is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runbake.errors import BaseImageError, PythonMismatch
from runbake.image.blob import Descriptor, Digest
from runbake_serving.contract import LABEL_PROVENANCE_DIGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLayer:
    """A layer of the base: its blob as the registry keeps it, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFacts:
    """What unpacking the base showed.

    `python_path` is the interpreter in the image without links ("/usr/bin/python3.11"), `python_version` its
    exact release ("3.11.2"), `glibc` "2.36", `os_id` and `os_version` from os-release ("debian", "12").
    """

    python_path: str
    python_version: str
    glibc: str
    os_id: str
    os_version: str

    @property
    def python_minor(self) -> str:
        """ "3.11" of "3.11.2"."""
        return ".".join(self.python_version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One platform of a base image, by digest.

    `asked` is the reference as the user wrote it, `name` its repository; `index_digest` is None when the
    reference is of a single image. `config` holds the exact bytes of the image's configuration.
    """

    asked: str
    name: str
    digest: Digest
    index_digest: Digest | None
    platform: str  # "linux/amd64"
    media_type: str
    config: bytes
    layers: tuple[BaseLayer, ...]
    facts: PythonFacts

    @property
    def config_json(self) -> dict[str, Any]:
        """The configuration, parsed anew each time."""
        document: dict[str, Any] = json.loads(self.config)
        return document

    @property
    def env(self) -> tuple[tuple[str, str], ...]:
        """The environment variables of the configuration, in its order."""
        return env_of(self.config_json)


def env_of(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The environment variables of an image configuration, in its order."""
    pairs = ((line.partition("=")) for line in (config.get("config") or {}).get("Env") or ())
    return tuple((name, value) for name, _, value in pairs)


def check_base(base: Base, python_minor: str, *, remedy: str) -> None:
    """Refuse a base whose Python is not the model's, or that has a model; `remedy` says how to get another.

    Raises:
        BaseImageError: it is an image of runbake's, whose model and wheels would stay below the new ones.
        PythonMismatch: the minor versions differ.
    """
    labels = (base.config_json.get("config") or {}).get("Labels") or {}
    if LABEL_PROVENANCE_DIGEST in labels:
        raise BaseImageError(f"{base.asked} is the image of a model, not a base", hint=remedy)
    if base.facts.python_minor != python_minor:
        raise PythonMismatch(
            f"the base image {base.asked} ({base.platform}) has Python {base.facts.python_version} at "
            f"{base.facts.python_path}; the model was logged with Python {python_minor}",
            hint=remedy,
        )
