"""What a release has done by now, for the message when it fails or is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SoFar:
    """Facts by stage; the last word of each stage counts."""

    def __init__(self) -> None:
        self._facts: dict[str, str] = {}

    def note(self, stage: str, fact: str) -> None:
        """What this stage has done, "" for nothing that anybody needs to know."""
        self._facts[stage] = fact

    @contextmanager
    def told(self) -> Iterator[None]:
        """Whatever leaves the block carries the facts as notes; `cli` prints them."""
        try:
            yield
        except BaseException as error:
            for fact in filter(None, self._facts.values()):
                error.add_note(fact)
            raise
