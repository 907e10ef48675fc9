"""What a command writes on a run about what came of it, so that `trace` finds the way forward."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from pathlib import Path

from runbake.cli.context import open_tracking
from runbake.cli.story import TerminalStory
from runbake.errors import RunbakeError
from runbake.redaction import redacted


def record_on_run(
    tags: Mapping[str, str], run_id: str, tracking_uri: str | None, story: TerminalStory, *, what: str
) -> None:
    """Set tags on the run where an MLflow server is named; a failure is a warning, as `what` is done."""
    if not tracking_uri or not run_id:
        return
    try:
        with story.step("record") as step:
            open_tracking(tracking_uri).record_image(run_id, tags)
            step.say(f"{', '.join(tags)} on run {run_id[:12]}")
    except RunbakeError as error:
        story.warn(f"{what} is not recorded on run {run_id[:32]}: {error}")


def batch_tags(output: str, job: str = "") -> dict[str, str]:
    """The tag that names a batch output: of one output always the same, whoever writes it again.

    Args:
        output: a URI, or a path of this machine, which is told with the machine's name.
        job: the id of a submitted job, "" for one on this machine.
    """
    uri = redacted(output) if "://" in output else f"file://{socket.gethostname()}{Path(output).resolve()}"
    return {f"runbake.batch.{hashlib.sha256(uri.encode()).hexdigest()[:12]}": f"{uri} {job}".strip()}
