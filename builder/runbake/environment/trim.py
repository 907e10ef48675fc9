"""What is left out of well-known wheels: files that no server reads and that make an image a fifth larger.

Their own tests, C and Cython sources for those who compile against them, and of pyarrow the client and
server of Flight. The table is by distribution, so that nothing is lost by a rule that nobody
checked against that wheel; a wheel that is not in it is installed whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

TRIM_RULES = "trim-1"
"""Names the table; raised when it changes."""

_TESTS = ("*/tests/*",)
_SOURCES = tuple(f"*.{suffix}" for suffix in ("a", "f90", "h", "hpp", "pxd", "pxi", "pyi", "pyx", "tp"))

_LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "numpy": (*_TESTS, *_SOURCES),
    "pandas": (*_TESTS, *_SOURCES),
    "pyarrow": (
        *_TESTS,
        *_SOURCES,
        "pyarrow/include/*",
        "pyarrow/src/*",
        "pyarrow/*flight*",
        "pyarrow/_pyarrow_cpp_tests*",
        # One library three times: programs load it by the name with one number, linkers look for the others.
        "pyarrow/libarrow_python*.so",
        "pyarrow/libarrow_python*.so.*.*.*",
    ),
    "scikit-learn": (*_TESTS, *_SOURCES),
    "scipy": (*_TESTS, *_SOURCES),
}


def is_left_out(distribution: str, path: str) -> bool:
    """This file of a wheel stays out of the image; `path` is relative to site-packages, as in RECORD."""
    return any(fnmatchcase(path, pattern) for pattern in _LEFT_OUT.get(distribution, ()))
