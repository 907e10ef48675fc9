"""What a bake left that was killed: found by its tags and by the names it gives; nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from runbake.ami.plan import DONE, TAG_BAKE, TAG_BEGAN, TAG_STATE, bake_of
from runbake.aws import Ec2, MachineImage, Tagged

_ORDER = ("instance", "volume", "group")
"""An instance holds its group. The group goes last: by it the bake is found again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A bake of which something is left; `since` is None where nothing tells."""

    bake_id: str
    since: datetime | None


def leavings(ec2: Ec2) -> tuple[Leaving, ...]:
    """The bakes of which something is left, or which still go on; an AMI without all its tags counts.

    Raises:
        AwsError: AWS refuses.
    """
    began: dict[str, list[datetime]] = {}
    for thing in ec2.tagged(TAG_BAKE):
        began.setdefault(thing.tags[TAG_BAKE], []).extend(_since(thing))
    for image in _unfinished(ec2):
        began.setdefault(bake_of(image.name), []).extend(_time(image.created_at))
    return tuple(
        Leaving(bake_id=bake, since=min(times, default=None)) for bake, times in sorted(began.items())
    )


def reap(ec2: Ec2, bake_id: str) -> Iterator[str]:
    """Remove everything of a bake, an AMI without all its tags as well; yields the name of each thing.

    Raises:
        AwsError: AWS refuses.
    """
    for image in _unfinished(ec2):
        if bake_of(image.name) == bake_id:
            ec2.deregister(image)
            yield f"image {image.image_id}"
    yield from remove_leavings(ec2, bake_id)


def remove_leavings(ec2: Ec2, bake_id: str) -> tuple[str, ...]:
    """Remove all of a bake but its AMI; the names of what was removed.

    Raises:
        AwsError: AWS refuses.
    """
    removed = []
    if ec2.remove_key(f"runbake-{bake_id}"):
        removed.append(f"key pair runbake-{bake_id}")
    things = [thing for thing in ec2.tagged(TAG_BAKE) if thing.tags[TAG_BAKE] == bake_id]
    for thing in sorted(things, key=lambda one: _ORDER.index(one.kind)):
        ec2.remove(thing)
        removed.append(f"{thing.kind} {thing.name}")
    return tuple(removed)


def _unfinished(ec2: Ec2) -> list[MachineImage]:
    found = ec2.own_images("runbake-*")
    return [image for image in found if bake_of(image.name) and image.tags.get(TAG_STATE) != DONE]


def _since(thing: Tagged) -> list[datetime]:
    return [thing.since] if thing.since else _time(thing.tags.get(TAG_BEGAN, ""))


def _time(text: str) -> list[datetime]:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return []
    return [found if found.tzinfo else found.replace(tzinfo=UTC)]
