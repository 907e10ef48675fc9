"""The way from any stop back to the run, from a run forward, and both as a page."""

from runbake.trace.chain import Chain, Link, chain_of_label_file, chain_of_run, chain_of_words, with_run_page
from runbake.trace.documents import Stop, stop_of_file
from runbake.trace.page import page_of

__all__ = [
    "Chain",
    "Link",
    "Stop",
    "chain_of_label_file",
    "chain_of_run",
    "chain_of_words",
    "page_of",
    "stop_of_file",
    "with_run_page",
]
