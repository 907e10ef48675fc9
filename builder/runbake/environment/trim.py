"""What is left out of well-known wheels: files that no server reads and that make an image a fifth larger.

Their own tests, C and Cython sources for those who compile against them, of pyarrow the client and server of
Flight, and of pyspark what only a cluster needs. The table is by distribution, so that nothing is lost by a
rule that nobody checked against that wheel; a wheel that is not in it is installed whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

TRIM_RULES = "trim-2"
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
    # What a local session never loads: cluster managers, Hive's store, a key-value store, consoles.
    "pyspark": (
        "pyspark/data/*",
        "pyspark/examples/*",
        "pyspark/jars/curator*",
        "pyspark/jars/datanucleus*",
        "pyspark/jars/derby*",
        "pyspark/jars/hadoop-yarn*",
        "pyspark/jars/hive-*",
        "pyspark/jars/jline*",
        "pyspark/jars/kubernetes-*",
        "pyspark/jars/mesos-*",
        "pyspark/jars/rocksdbjni-*",
        "pyspark/jars/spark-hive*",
        "pyspark/jars/spark-kubernetes*",
        "pyspark/jars/spark-mesos*",
        "pyspark/jars/spark-repl*",
        "pyspark/jars/spark-yarn*",
        "pyspark/jars/zookeeper*",
    ),
    "scikit-learn": (*_TESTS, *_SOURCES),
    "scipy": (*_TESTS, *_SOURCES),
}


def is_left_out(distribution: str, path: str) -> bool:
    """This file of a wheel stays out of the image; `path` is relative to site-packages, as in RECORD."""
    return any(fnmatchcase(path, pattern) for pattern in _LEFT_OUT.get(distribution, ()))
