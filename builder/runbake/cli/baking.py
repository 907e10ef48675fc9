"""What `ami bake` does the same way for Amazon's machine images and for disks."""

from __future__ import annotations

import json
from base64 import b64encode

from runbake.ami import Subject
from runbake.aws import ecr_region
from runbake.cli.context import engine_auth, open_registries, settings
from runbake.cli.image_ref import image_ref
from runbake.cli.recording import record_on_run
from runbake.cli.story import TerminalStory, one_line
from runbake.gocd import Invocation
from runbake.provenance import ec2_tags
from runbake.published import read_published
from runbake_serving.contract import LABEL_RUN_ID

_TAG_JOB = "runbake.ami.gocd_job"


def subject_of(image: str, platform: str, job: Invocation | None) -> Subject:
    """The container image that goes onto the machine, as the registry has it."""
    ref = image_ref(image)
    published = read_published(ref, open_registries()(ref.host), platform=platform)
    return Subject(
        repository=ref.repository,
        digest=published.digest,
        platform=published.platform,
        run_id=published.labels[LABEL_RUN_ID],
        tags=(*ec2_tags(published.labels.items()), *ec2_tags(job.tags().items() if job else ())),
    )


def login_of(subject: Subject, *, by_role: bool) -> bytes:
    """What the build machine needs to pull; nothing where its own role does it, or nobody has to log in."""
    host = subject.repository.partition("/")[0]
    found = None if by_role and ecr_region(host) else engine_auth(host)
    if found is None:
        return b""
    if "identitytoken" in found:
        entry: dict[str, str] = {"auth": "", "identitytoken": found["identitytoken"]}
    else:
        entry = {"auth": b64encode(f"{found['username']}:{found['password']}".encode()).decode()}
    return json.dumps({"auths": {host: entry}}).encode()


def record(
    run_id: str, tags: dict[str, str], job: Invocation | None, tracking_uri: str | None, story: TerminalStory
) -> None:
    """Write on the run where its machine images are; a failure is a warning, as the images are there."""
    # The tag of the job that built the image stays.
    by = {_TAG_JOB: job.url or job.locator} if job else {}
    record_on_run({**tags, **by}, run_id, tracking_uri, story, what="the machine image")


def quietly(line: str) -> None:
    """What Packer says of a check is told only if the check fails."""
    del line


def shown(line: str) -> None:
    settings().console.print(f"    {one_line(line)}", markup=False, highlight=False, soft_wrap=True)
