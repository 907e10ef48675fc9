"""runbake's serving runtime: what answers inside the image."""

from runbake_serving.contract import VERSION as __version__

__all__ = ["__version__"]
