"""The models of an evaluation, each as it can be asked: in its image, or beside the wheels of its lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from runbake.batch import needs_of
from runbake.cli.batch import check_run, image_of
from runbake.cli.containerize import checked_date
from runbake.cli.context import engine_auth, open_doors, open_engine, open_registries, open_tracking, settings
from runbake.cli.image_ref import image_ref
from runbake.cli.trace import shape_of
from runbake.errors import BaseImageError
from runbake.published import Published, read_published
from runbake.registry import ImageRef
from runbake.release import LockedModel, Request, locked_model
from runbake.release.base_name import BaseName
from runbake.runtime import Engine, run_batch, run_batch_here
from runbake.store import Store
from runbake.tracking import RunRef
from runbake_serving.contract import LABEL_PROVENANCE_DIGEST

_IMAGE_TAG = "runbake.image"
Tell = Callable[[str], None]


class Model(Protocol):
    """A model that answers rows.

    `image` is its name by digest, "" where it is asked without one; `provenance` the label file's digest.
    """

    @property
    def image(self) -> str: ...

    @property
    def label_file(self) -> Mapping[str, Any]: ...

    @property
    def provenance(self) -> str: ...

    @property
    def has_arrow(self) -> bool: ...

    def batch(self, data: str, output: Path, more: Sequence[str], tell: Tell) -> tuple[int, str]:
        """Do a batch job: its exit status, and what it printed."""


def run_of(model: Model) -> str:
    """The run that the model is of."""
    return str(model.label_file["run"]["id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class InImage:
    """A model in its image, in a container without network or credentials."""

    engine: Engine
    published: Published
    store: Store

    @property
    def image(self) -> str:
        return f"{self.published.ref.repository}@{self.published.digest}"

    @property
    def label_file(self) -> Mapping[str, Any]:
        return self.published.label_file

    @property
    def provenance(self) -> str:
        return self.published.labels[LABEL_PROVENANCE_DIGEST]

    @property
    def has_arrow(self) -> bool:
        wheels = self.label_file["environment"]["lock"].get("wheels", ())
        return any(wheel.get("name") == "pyarrow" for wheel in wheels)

    def batch(self, data: str, output: Path, more: Sequence[str], tell: Tell) -> tuple[int, str]:
        published = self.published
        image = self.engine.pull(published.ref.repository, published.digest, engine_auth(published.ref.host))
        needs = needs_of([data], str(output), None, more)
        with self.store.scratch() as scratch, self.store.marked() as mark:
            return run_batch(
                *(self.engine, image, needs, _cloud() if needs.remote else {}, tell),
                scratch=scratch,
                mark=mark,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class InEnvironment:
    """A model beside the wheels of its lock, in a process of this machine with nothing of our environment."""

    locked: LockedModel
    store: Store

    @property
    def image(self) -> str:
        return ""

    @property
    def label_file(self) -> Mapping[str, Any]:
        return self.locked.label_file

    @property
    def provenance(self) -> str:
        return self.locked.provenance

    @property
    def has_arrow(self) -> bool:
        return self.locked.has_arrow

    def batch(self, data: str, output: Path, more: Sequence[str], tell: Tell) -> tuple[int, str]:
        needs = needs_of([data], str(output), None, more, contained=False)
        cloud = _cloud() if needs.remote else {}
        with self.store.scratch() as scratch:
            return run_batch_here(
                *(self.locked.command, {**self.locked.environment, **cloud}, needs, tell), scratch=scratch
            )


def _cloud() -> dict[str, str]:
    """What a job needs to read from S3."""
    return {key: text for key, text in settings().environment.items() if key.startswith("AWS_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where models come from, and how an environment is made; as `containerize` has it.

    `repository` is where images of runs are. `base` is "" for a Python of this machine. `attached` says that
    something will be attached to the image, so that there has to be one.
    """

    tracking_uri: str | None
    repository: str | None
    cache: Path
    base: str
    additions: tuple[str, ...]
    trusted_types: tuple[str, ...]
    dataframe_path: bool
    lock_date: str
    local_artifacts: bool
    keep_lock: bool
    attached: bool


def environment_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add what decides about the environment of a run without an image; the file's [containerize] holds."""
    for option in (
        click.option(
            "--base", envvar="RUNBAKE_BASE", show_envvar=True, metavar="IMAGE",
            help="Of a RUN without an image: the base whose Python is used.  [default: containerize's in "
            "runbake.toml, else a Python of this machine]",
        ),
        click.option(
            "--with", "additions", multiple=True, type=click.Choice(["arrow", "s3"]),
            help="Of a RUN without an image: what containerize will put in, too.",
        ),
        click.option(
            "--trust-type", "trusted_types", multiple=True, metavar="TYPE",
            help="Of a RUN without an image: a type that a skops file may hold.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def places_of(
    *,
    tracking_uri: str | None,
    repository: str | None,
    cache: Path,
    base: str | None,
    additions: tuple[str, ...],
    trusted_types: tuple[str, ...],
    keep_lock: bool,
    attached: bool,
) -> Places:
    """The places of a command; what is not given is [containerize]'s in runbake.toml."""
    found = containerize_settings()
    return Places(
        tracking_uri=tracking_uri,
        repository=repository,
        cache=cache,
        base=base or str(found.get("base") or ""),
        additions=tuple(sorted({*(additions or found.get("additions", ()))})),
        trusted_types=tuple(sorted({*(trusted_types or found.get("trusted_types", ()))})),
        dataframe_path=bool(found.get("dataframe_path")),
        lock_date=checked_date(str(found.get("lock_date") or "")),
        local_artifacts=bool(found.get("local_artifacts"))
        or settings().environment.get("RUNBAKE_LOCAL_ARTIFACTS", "") not in ("", "0", "false"),
        keep_lock=keep_lock,
        attached=attached,
    )


def containerize_settings() -> Mapping[str, Any]:
    """What runbake.toml says of `containerize`, by the names of its parameters."""
    defaults = click.get_current_context().find_root().default_map or {}
    found: Mapping[str, Any] = defaults.get("containerize", {})
    return found


@contextmanager
def model_of(ref: str, places: Places) -> Iterator[Model]:
    """The model that REF means: an image, the image of a run, or the run itself where it has none.

    Raises:
        RunbakeError: it cannot be found, or not be asked here.
    """
    if ref.endswith(".json"):
        yield _in_image(image_ref(ref), "", places)
        return
    if shape_of(ref) == "run" and not places.attached and not _has_image(ref, places):
        with locked_model(_request(ref, places), _doors(places), keep_lock=places.keep_lock) as locked:
            yield InEnvironment(locked=locked, store=Store(places.cache))
        return
    yield _in_image(*image_of(ref, places.tracking_uri, places.repository, remote=False), places)


def in_image(image: ImageRef, places: Places) -> Model:
    """The model of this image."""
    return _in_image(image, "", places)


def _in_image(image: ImageRef, run_id: str, places: Places) -> InImage:
    engine = open_engine()
    published = read_published(image, open_registries()(image.host), platform=engine.platform)
    check_run(published, run_id)
    return InImage(engine=engine, published=published, store=Store(places.cache))


def _has_image(ref: str, places: Places) -> bool:
    record = open_tracking(places.tracking_uri).record_of(RunRef.parse(ref))
    return _IMAGE_TAG in dict(record.stops)


def _doors(places: Places) -> Any:
    return open_doors(
        places.tracking_uri,
        places.cache,
        cache_limit_gb=Store(places.cache).limit_bytes / 1e9,
        local_artifacts=places.local_artifacts,
        promote_tag="promote=true",
    )


def _request(ref: str, places: Places) -> Request:
    """What `containerize` would be asked, so that the lock is the same."""
    platform = _doors(places).host.platform
    if not platform:
        raise BaseImageError(
            f"{ref} has no image, and no Linux program runs on this machine without an engine",
            hint=f"make the image first: runbake containerize {ref} --repository HOST/NAME",
        )
    return Request(
        run=RunRef.parse(ref),
        model_name="",
        base=BaseName.parse(places.base) if places.base else BaseName(""),
        platforms=(platform,),
        repository=None,
        tags=(),
        layout=None,
        archive=None,
        image_format="oci",
        model_layer="auto",
        # Compiled by the base's own Python; one of this machine compiles as it goes.
        bytecode=bool(places.base),
        whole_wheels=False,
        additions=places.additions,
        trusted_types=places.trusted_types,
        dataframe_path=places.dataframe_path,
        prove=False,
        allow_unpromoted=True,
        allow_unproven=True,
        move_tag=False,
        relock=False,
        lock_date=places.lock_date,
        created="",
    )


__all__ = [
    "InImage",
    "Model",
    "Places",
    "containerize_settings",
    "environment_options",
    "in_image",
    "model_of",
    "places_of",
    "run_of",
]
