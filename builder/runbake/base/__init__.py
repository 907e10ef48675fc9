"""The base room: an image of somebody else's, read by digest, and its Python."""

from runbake.base.base import Base, BaseLayer, PythonFacts, check_base
from runbake.base.interpreter import Host, Interpreter, find_interpreter
from runbake.base.read import read_base, unpacked_root
from runbake.base.reader import BaseReader, FetchedManifest

__all__ = [
    "Base",
    "BaseLayer",
    "BaseReader",
    "FetchedManifest",
    "Host",
    "Interpreter",
    "PythonFacts",
    "check_base",
    "find_interpreter",
    "read_base",
    "unpacked_root",
]
