"""IMAGE on the command line: a reference, or the document of the stage before."""

from __future__ import annotations

import json
from pathlib import Path

from runbake.cli.story import one_line
from runbake.errors import ConfigError
from runbake.registry import ImageRef

_REPORT_BYTES = 64 << 20


def image_ref(image: str) -> ImageRef:
    """The image that is meant: a reference, or what an image.json names.

    Raises:
        ConfigError: the image.json names none.
        InvalidReference: it is no reference.
    """
    path = Path(image)
    if not image.endswith(".json") or not path.is_file():
        return ImageRef.parse(image)
    try:
        with path.open("rb") as file:
            report = json.loads(file.read(_REPORT_BYTES))
        status, reference = report["status"], str(report.get("reference", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{image} is not an image.json of `containerize`") from error
    if status != "done" or "@" not in reference or "/" not in reference:
        raise ConfigError(
            f"{image} names no image in a registry: its status is {one_line(str(status))[:40]!r}",
            hint="name what `containerize --repository` pushed",
        )
    return ImageRef.parse(reference)
