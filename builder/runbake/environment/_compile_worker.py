"""Runs under a base image's interpreter: sources in, .pyc files out. Standard library only.

Reads a JSON list of [source, path in the image, target] and writes {"version", "tag", "sizes"}; a size of 0
stands for a file that does not compile.
"""

import json
import marshal
import sys
from importlib.util import MAGIC_NUMBER, source_hash

# PEP 552: hash-based, never checked against the source.
UNCHECKED_HASH = (1).to_bytes(4, "little")
# Later marshal formats write back-references, which depend on what the interpreter did before.
MARSHAL_VERSION = 2


def compiled(source: bytes, path: str) -> bytes:
    """The .pyc bytes of this source, or b"" where it is no valid Python."""
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        body = marshal.dumps(code, MARSHAL_VERSION)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return b""
    return MAGIC_NUMBER + UNCHECKED_HASH + source_hash(source) + body


def main() -> None:
    """Compile what stdin lists, in its order."""
    sizes = []
    for source, path, target in json.load(sys.stdin):
        with open(source, "rb") as stream:
            data = compiled(stream.read(), path)
        if data:
            with open(target, "wb") as stream:
                stream.write(data)
        sizes.append(len(data))
    version = sys.version.split()[0]
    json.dump({"version": version, "tag": sys.implementation.cache_tag, "sizes": sizes}, sys.stdout)


if __name__ == "__main__":
    main()
