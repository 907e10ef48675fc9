"""The bake: Packer carries out the plan, then AWS is told what MLflow says. Asked again, it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from runbake.ami.packer import Packer
from runbake.ami.plan import DONE, TAG_BAKE, TAG_BEGAN, TAG_STATE, Plan, bake_of, name_prefix
from runbake.ami.reap import remove_leavings
from runbake.ami.workdir import write_workdir
from runbake.aws import Ec2, MachineImage
from runbake.errors import AmiError, BakeFailed, RunbakeError


class Step(Protocol):
    """One stage as somebody sees it."""

    def say(self, text: str) -> None:
        """Set the line that is left when the stage is done."""


class Story(Protocol):
    """Who is told how it goes."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Show a stage while it runs."""

    def warn(self, text: str) -> None:
        """Tell of something that does not end the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a bake works with; `heard` gets every line of Packer's, `now` is UTC.

    `login` is a config.json of Docker's for the build machine.
    """

    packer: Packer
    ec2: Callable[[str], Ec2]
    story: Story
    heard: Callable[[str], None]
    now: Callable[[], datetime]
    directory: Path
    login: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baked:
    """An AMI that has all its tags; `bake_id` is of the bake that made it."""

    region: str
    image: MachineImage
    bake_id: str

    def to_json(self) -> dict[str, object]:
        """What ami.json says of one region."""
        return {
            "region": self.region,
            "id": self.image.image_id,
            "name": self.image.name,
            "bake": self.bake_id,
            "snapshots": list(self.image.snapshots),
            "tags": dict(sorted(self.image.tags.items())),
        }


def bake(plan: Plan, hands: Hands, *, force: bool, deprecate_at: datetime | None) -> tuple[Baked, ...]:
    """The AMI of every region that was ordered, the bake's own region first.

    An AMI of the same image that is there already is taken, and finished if its bake did not come so far;
    `force` bakes anew.

    Raises:
        AmiError, AwsError: it could not be baked or finished; nothing is left of it but an AMI that the next
            call finishes.
    """
    home = hands.ec2(plan.order.region)
    image = None if force else _there(home, plan)
    if image is None:
        image = _packed(plan, hands, home)
    plan = replace(plan, bake_id=bake_of(image.name) or plan.bake_id)
    return tuple(_everywhere(plan, image, hands, deprecate_at))


def _there(ec2: Ec2, plan: Plan) -> MachineImage | None:
    found = ec2.own_images(f"{name_prefix(plan.subject.digest)}*")
    ours = [image for image in found if bake_of(image.name)]
    done = [image for image in ours if image.tags.get(TAG_STATE) == DONE]
    return next(iter(done or ours), None)


def _packed(plan: Plan, hands: Hands, ec2: Ec2) -> MachineImage:
    """Let Packer bake; nothing but the AMI is left, however it ends."""
    try:
        with hands.story.step("bake") as step:
            image = _built(plan, hands, ec2)
            step.say(f"{image.image_id} {image.name}")
    except BaseException as error:
        _clean(plan, ec2, error)
        raise
    remove_leavings(ec2, plan.bake_id)
    return image


def _built(plan: Plan, hands: Hands, ec2: Ec2) -> MachineImage:
    order = plan.order
    group = ec2.make_group(
        plan.own_name,
        {TAG_BAKE: plan.bake_id, TAG_BEGAN: hands.now().isoformat(timespec="seconds")},
        vpc=order.vpc,
        subnet=order.subnet,
        allow_from=order.allow_from,
    )
    write_workdir(hands.directory, plan, hands.packer.template, group=group, login=hands.login)
    hands.packer.prepare(hands.directory, hands.heard)
    try:
        hands.packer.build(hands.directory, hands.heard)
    except BakeFailed:
        # Packer gives up on large images that EC2 still makes.
        late = ec2.own_images(plan.name)
        if not late:
            raise
        hands.story.warn(f"Packer gave up, and {late[0].image_id} is there: waiting for it")
        return late[0]
    return _of_name(ec2, plan)


def _of_name(ec2: Ec2, plan: Plan) -> MachineImage:
    found = ec2.own_images(plan.name)
    if not found:
        raise AmiError(f"Packer ended well, and there is no image {plan.name} in {ec2.region}")
    return found[0]


def _clean(plan: Plan, ec2: Ec2, error: BaseException) -> None:
    """Remove what is left; if that fails too, the user must read of both."""
    try:
        for what in remove_leavings(ec2, plan.bake_id):
            error.add_note(f"removed the {what}")
    except RunbakeError as left:
        error.add_note(f"not removed: {left}; `runbake ami reap {plan.bake_id}` tries again")


def _everywhere(
    plan: Plan, image: MachineImage, hands: Hands, deprecate_at: datetime | None
) -> Iterator[Baked]:
    home = plan.order.region
    for region in (home, *plan.order.copy_to):
        ec2 = hands.ec2(region)
        with hands.story.step("finish") as step:
            here = image if region == home else _copied(ec2, image, plan)
            done = _finished(ec2, here, plan, deprecate_at)
            step.say(f"{done.image_id} in {region}, {len(done.tags)} tags")
        yield Baked(region=region, image=done, bake_id=plan.bake_id)


def _copied(ec2: Ec2, image: MachineImage, plan: Plan) -> MachineImage:
    there = ec2.own_images(plan.name)
    if there:
        return there[0]
    return ec2.image(ec2.copy(image, plan.order.region, token=plan.name))


def _finished(ec2: Ec2, image: MachineImage, plan: Plan, deprecate_at: datetime | None) -> MachineImage:
    """The AMI with everything that Packer was not told; `TAG_STATE` comes last and says that all is there."""
    if image.tags.get(TAG_STATE) == DONE:
        return image
    ready = ec2.wait_until_available(image.image_id)
    ec2.tag((ready.image_id, *ready.snapshots), plan.tags())
    ec2.require_imdsv2(ready.image_id)
    if deprecate_at is not None:
        ec2.deprecate(ready.image_id, deprecate_at)
    ec2.tag((ready.image_id,), {TAG_STATE: DONE})
    done = ec2.image(ready.image_id)
    missing = {**plan.tags(), TAG_STATE: DONE}.items() - done.tags.items()
    if missing:
        names = ", ".join(sorted(key for key, _ in missing))
        raise AmiError(f"{done.image_id} in {ec2.region} does not have these tags: {names}")
    return done
