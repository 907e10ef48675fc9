"""runbake: a promoted MLflow run becomes a pushed, proven, traceable serving image.

Start reading in `release`: it tells the stages in order.
"""

from runbake_serving.contract import VERSION as __version__

__all__ = ["__version__"]
