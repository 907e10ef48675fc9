"""Which base image a run gets: one for all, or by the model's Python."""

from __future__ import annotations

from dataclasses import dataclass

from runbake.registry import ImageRef

PLACE = "{python}"


@dataclass(frozen=True, slots=True)
class BaseName:
    """A base image's reference, in which `{python}` stands for the model's minor version, as in `3.11`.

    Empty text means none: a Python of this machine, for what is never pushed.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> BaseName:
        """Read a reference with or without `{python}`.

        Raises:
            InvalidReference: it is none for any Python.
        """
        name = cls(text)
        name.for_python("3.11")
        return name

    def for_python(self, minor: str) -> ImageRef:
        """The base image for models of this Python, e.g. "3.11".

        Raises:
            InvalidReference: that is no reference.
        """
        return ImageRef.parse(self.text.replace(PLACE, minor))


def how_to_build(base: ImageRef, minor: str) -> str:
    """The command that makes a base image for this Python, for a person to paste."""
    tag = base.tag if base.tag and base.digest is None and minor in base.tag else minor
    return f"runbake base build {base.repository}:{tag} --python {minor}"
