"""`runbake render`: the image's layers as a Docker context; an export, not a second builder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import jinja2

from runbake.errors import ConfigError
from runbake.image import FileEntry
from runbake.output import directory_beside
from runbake.release import Doors, Plan
from runbake.release.assemble import labels_of_base, runtime_of
from runbake.release.trees import provenance_of_platform, trees_of
from runbake.store import disk_full_is_named

TEMPLATE = "Dockerfile.j2"
_HINT = "name a new directory"


def write_context(plan: Plan, directory: Path, doors: Doors) -> None:
    """Write a Dockerfile and one tree for each layer, in the image's order.

    The context has its name when it is whole; what fails half-way leaves nothing.

    Raises:
        ConfigError: the directory is not empty, or cannot be written.
        DiskFull: the device is full.
    """
    check_directory(directory)
    platform = plan.platforms[0]
    with (
        doors.story.step("render") as step,
        doors.store.scratch() as scratch,
        _named(directory),
        directory_beside(directory) as context,
    ):
        trees = trees_of(plan, platform, doors, scratch)
        for tree in trees:
            _write_tree(context / "layers" / tree.name, tree.make())
        text = dockerfile(
            base=f"{plan.base.repository}@{platform.base.digest}",
            layers=[tree.name for tree in trees],
            runtime=runtime_of(platform.base, plan.served),
            labels=_labels(plan),
        )
        (context / "Dockerfile").write_text(text, encoding="utf-8")
        step.say(f"{len(trees)} layers in {directory}")


def _labels(plan: Plan) -> tuple[tuple[str, str], ...]:
    # Docker cannot take a label of the base away; an empty one says nothing wrong.
    platform = plan.platforms[0]
    emptied = dict.fromkeys(labels_of_base(platform.base)[1], "")
    return tuple(sorted({**emptied, **dict(provenance_of_platform(plan, platform).labels)}.items()))


def check_directory(directory: Path) -> None:
    """Fail where no context can be written, before there is one.

    Raises:
        ConfigError: it is not empty, or no directory.
    """
    with _named(directory):
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty", hint=_HINT)


@contextmanager
def _named(directory: Path) -> Iterator[None]:
    try:
        with disk_full_is_named(directory, hint="free some space, or name another directory"):
            yield
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror or error}", hint=_HINT) from error


def dockerfile(
    *, base: str, layers: Iterable[str], runtime: object, labels: Iterable[tuple[str, str]]
) -> str:
    """The Dockerfile of a context; every value is quoted for Docker's parser."""
    # Not HTML: `quoted` is the escape here.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["quoted"] = quoted
    template = environment.from_string(template_text())
    return template.render(base=base, layers=list(layers), runtime=runtime, labels=list(labels))


def template_text() -> str:
    """The Dockerfile template, from the installed package or from a checkout."""
    installed = files("runbake") / "_data" / TEMPLATE
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "serving_template" / TEMPLATE).read_text(encoding="utf-8")


def quoted(value: str) -> str:
    """The value between double quotes, so that Docker reads it back unchanged.

    Docker replaces $NAME in ENV and LABEL, and a backslash escapes; labels hold no line breaks.

    Source: Dockerfile reference, "Environment replacement" and "LABEL".
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _write_tree(root: Path, entries: Iterable[FileEntry]) -> None:
    for entry in entries:
        target = root / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry.content, bytes):
            target.write_bytes(entry.content)
        else:
            shutil.copyfile(entry.content, target)
        target.chmod(0o755 if entry.executable else 0o644)
