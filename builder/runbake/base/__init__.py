"""The base room: an image of somebody else's, read by digest, and its Python."""

from runbake.base.base import Base, BaseLayer, PythonFacts, check_base
from runbake.base.here import base_here
from runbake.base.interpreter import Host, Interpreter, find_interpreter
from runbake.base.packages import DebianPackage, debian_packages
from runbake.base.read import read_base, unpacked_root
from runbake.base.reader import BaseReader, FetchedManifest

__all__ = [
    "Base",
    "BaseLayer",
    "BaseReader",
    "DebianPackage",
    "FetchedManifest",
    "Host",
    "Interpreter",
    "PythonFacts",
    "check_base",
    "debian_packages",
    "base_here",
    "find_interpreter",
    "read_base",
    "unpacked_root",
]
