"""Requirement lines, written by strangers, made safe to hand to uv."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement

from runbake.environment.uv import without_urls
from runbake.errors import NoWheel, Unresolvable

_log = logging.getLogger(__name__)

# pip's options that say where or how to look: uv's own settings decide that, not the model.
_IGNORED = (
    "--index-url",
    "-i",
    "--extra-index-url",
    "--find-links",
    "-f",
    "--no-index",
    "--trusted-host",
    "--only-binary",
    "--no-binary",
    "--prefer-binary",
    "--pre",
)
_ELSEWHERE = re.compile(
    r"^(?:-e\b|--editable\b|[./~\\]|[A-Za-z]:\\)|://|^(?:git|hg|svn|bzr)\+|@|\.(?:whl|zip|gz)$"
)
_SHOWN_CHARACTERS = 100


def requirements_of(lines: Iterable[str], *, whose: str) -> tuple[str, ...]:
    """The lines as canonical requirements, in order; comments and pip's index options are left out.

    Only names, extras, versions and markers remain, so no line can carry an option, a path or a URL to uv.
    `whose` names the lines in messages, e.g. "the model".

    Raises:
        NoWheel: a line asks for a directory, a URL or version control, which no lock can pin by hash.
        Unresolvable: a line is no requirement at all.

    Source: PyPA specification "Dependency specifiers"; pip, "Requirements File Format".
    """
    found = []
    for line in lines:
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        option = re.split(r"[\s=]", text, maxsplit=1)[0]
        if option in _IGNORED:
            _log.warning(
                "%s asks for %s in its requirements, ignored: uv's own settings say where to look (UV_INDEX)",
                whose,
                option,
            )
        elif text:
            found.append(_requirement_of(text, whose))
    return tuple(found)


def _requirement_of(text: str, whose: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        if _ELSEWHERE.search(text):
            raise _elsewhere(text, whose) from error
        raise Unresolvable(
            f"{whose} asks for {_shown(text)}, which is not a requirement",
            hint="write NAME==VERSION, one a line, in the model's pip_requirements",
        ) from error
    # pip takes `foo-1.0.tar.gz` for a file, the specification for a name.
    if requirement.url or _ELSEWHERE.search(requirement.name):
        raise _elsewhere(text, whose)
    return str(requirement)


def _elsewhere(text: str, whose: str) -> NoWheel:
    return NoWheel(
        f"{whose} asks for {_shown(text)}, which is not a release on a package index",
        hint="build a wheel of it, put it into a wheelhouse that uv reads (UV_FIND_LINKS), and require it as "
        "NAME==VERSION",
    )


def _shown(text: str) -> str:
    return repr(without_urls(text)[:_SHOWN_CHARACTERS])
