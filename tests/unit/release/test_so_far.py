"""What was done by the time a release fails, and locks that the run cannot keep."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from runbake.cli.story import TerminalStory
from runbake.errors import LockError, RegistryError, TrackingAuthError
from runbake.image import Digest, FileEntry, stored_layer
from runbake.registry import ImageRef
from runbake.release.plan import PlatformPlan, stored_lock
from runbake.release.publish import keep_locks, push, tag
from runbake.release.so_far import SoFar
from tests.unit.samples import RUN_ID, a_lock, a_run

REPOSITORY = ImageRef.parse("localhost:5000/wine")
DIGEST = Digest.of(b"index")


class Refusing:
    """A registry that refuses whatever it is asked for after `most` things."""

    def __init__(self, most: int) -> None:
        self._left = most

    def push_blob(self, *_blob: object, **_how: object) -> str:
        """Take a blob, or refuse it."""
        return self._taken("uploaded")

    def push_manifest(self, *_manifest: object) -> str:
        """Take a manifest, or refuse it."""
        return self._taken("")

    def resolve(self, _name: str, _tag: str) -> None:
        """No tag is taken."""

    def _taken(self, answer: str) -> str:
        if self._left == 0:
            raise RegistryError("enough")
        self._left -= 1
        return answer


def doors_to(registry: object = None, tracking: object = None) -> SimpleNamespace:
    """Doors of which only these are open; the story is told to `heard`."""
    heard = io.StringIO()
    return SimpleNamespace(
        registry=lambda _host: registry,
        tracking=tracking,
        story=TerminalStory(Console(file=heard, width=500)),
        heard=heard,
    )


def an_image() -> SimpleNamespace:
    """An image of three blobs for one platform."""
    layers = tuple(
        stored_layer(name, [FileEntry.of_bytes(name, b"x")], name) for name in ("runtime", "model")
    )
    config = stored_layer("config", [FileEntry.of_bytes("config", b"x")], "").blob
    platform = SimpleNamespace(
        layers=layers,
        config=config,
        descriptor=SimpleNamespace(digest=DIGEST),
        manifest=b"{}",
        manifest_type="",
    )
    return SimpleNamespace(platforms=(platform,), digest=DIGEST, body=b"{}", media_type="")


def notes_of(error: BaseException) -> list[str]:
    """What a failure says was done."""
    return list(getattr(error, "__notes__", ()))


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        (0, []),
        (2, ["2 of 3 blobs are in localhost:5000/wine"]),
        (3, ["3 of 3 blobs are in localhost:5000/wine"]),
    ],
)
def test_a_failed_push_says_what_is_there(taken: int, told: list[str]) -> None:
    """Blobs that arrived are counted; nothing is said where nothing was done."""
    so_far = SoFar()
    with pytest.raises(RegistryError) as caught, so_far.told():
        push(an_image(), REPOSITORY, doors_to(Refusing(taken)), so_far)  # type: ignore[arg-type]
    assert notes_of(caught.value) == told


def test_a_failure_after_the_push_names_the_digest_and_the_tags() -> None:
    """Between push and tags, the image is there without one; later, the message tells the tags apart."""
    plan = SimpleNamespace(request=SimpleNamespace(repository=REPOSITORY, move_tag=False), tags=("a", "b"))
    so_far, doors, image = SoFar(), doors_to(Refusing(5)), an_image()
    pushed = f"the image is in localhost:5000/wine@{DIGEST}"
    push(image, REPOSITORY, doors, so_far)  # type: ignore[arg-type]
    with pytest.raises(KeyError) as early, so_far.told():
        raise KeyError
    assert notes_of(early.value) == [pushed, "no tag was set"]

    with pytest.raises(RegistryError) as late, so_far.told():
        tag(plan, image, doors, so_far)  # type: ignore[arg-type]
    assert notes_of(late.value) == [pushed, "tags that point to it: a; not yet: b"]


def test_a_run_that_cannot_keep_its_lock_is_built_all_the_same() -> None:
    """An artifact store that refuses to be written to is worth a warning, and the plan says so."""

    def refuse(*_lock: object) -> str:
        raise TrackingAuthError("403, read only")

    doors = doors_to(tracking=SimpleNamespace(write_lock_once=refuse, replace_lock=refuse))
    platform = PlatformPlan(base=SimpleNamespace(), lock=a_lock(), groups=(), stored=False)  # type: ignore[arg-type]
    plan = SimpleNamespace(request=SimpleNamespace(relock=False), run=a_run(), platforms=(platform,))

    assert keep_locks(plan, doors, SoFar()) == (platform,)  # type: ignore[arg-type]
    assert "403, read only" in doors.heard.getvalue()


def test_a_stored_lock_must_be_the_one_that_was_asked_for() -> None:
    """What lies under a key on the run may have been put there by hand."""
    lock = a_lock(key="k" * 64)
    assert stored_lock(lock.to_json(), RUN_ID, "k" * 64) == lock
    with pytest.raises(LockError, match="another key"):
        stored_lock(lock.to_json(), RUN_ID, "other")
    with pytest.raises(LockError, match="cannot be read"):
        stored_lock("{", RUN_ID, "k")
