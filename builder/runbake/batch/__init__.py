"""Offline batch on this machine: what a job needs of it, and what an output tells. Pure but for reading."""

from runbake.batch.distribution import Distribution, distributions
from runbake.batch.needs import Mount, Needs, needs_of
from runbake.batch.page import page_of
from runbake.batch.shown import Output, read_output

__all__ = [
    "Distribution",
    "Mount",
    "Needs",
    "Output",
    "distributions",
    "needs_of",
    "page_of",
    "read_output",
]
