"""Whether this image has Arrow: it is an addition that images are built with or without."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

HAS_ARROW: Final = find_spec("pyarrow") is not None

MISSING: Final = "this image was built without Arrow (runbake containerize --with arrow)"
