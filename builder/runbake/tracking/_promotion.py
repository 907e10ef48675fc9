"""Who counts as promoted, and which of several is the latest: rules only, no I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from runbake.errors import ConfigError, NotPromoted
from runbake.tracking.reference import RunRef
from runbake.tracking.run import Change, Promotion

PROMOTED_AT = "runbake.promoted_at"
USUAL_TAG = ("promote", "true")

_TAG_NAME = re.compile(r"[\w./ -]{1,250}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def rfc3339_of(at_ms: int) -> str:
    """The moment in UTC with milliseconds; `at_ms_of(rfc3339_of(t)) == t`."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def at_ms_of(text: str) -> int | None:
    """The milliseconds since 1970 of an RFC 3339 text; None where it is none (anybody can write a tag)."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return round(at.timestamp() * 1000)


def checked_tag(tag: tuple[str, str]) -> tuple[str, str]:
    """The promotion tag, fit for MLflow's search language, which has no way to quote a quote.

    Raises:
        ConfigError: the name or value holds something that MLflow's filters cannot express.
    """
    name, value = tag
    if not _TAG_NAME.fullmatch(name) or "'" in value or "\\" in value:
        raise ConfigError(
            f"cannot use {name[:100]!r}={value[:100]!r} as the promotion tag",
            hint="a name of letters, digits, '_', '-', '.', '/' and spaces; a value without quotes",
        )
    return tag


def filter_of(tag: tuple[str, str]) -> str:
    """MLflow's filter for runs with this tag."""
    return f"tags.`{tag[0]}` = '{tag[1]}'"


def order_of(tags: Mapping[str, str], end_time_ms: int) -> tuple[int, str]:
    """By which time a promoted run is ordered, and which time that is."""
    promoted_at = at_ms_of(tags.get(PROMOTED_AT, ""))
    return (end_time_ms, "end_time") if promoted_at is None else (promoted_at, "promoted_at")


def promotion_of(
    asked: RunRef | None,
    *,
    tags: Mapping[str, str],
    end_time_ms: int,
    aliases: Sequence[str],
    tag: tuple[str, str],
    allow_unpromoted: bool,
    run_id: str,
) -> Promotion:
    """How the run counts as promoted: by RUN's alias, else by its tag, else by its version's aliases.

    Args:
        asked: None where the run was found by its experiment.
        aliases: those that point to the registered version RUN names, now.

    Raises:
        NotPromoted: in none of these ways, and `allow_unpromoted` is False.
    """
    tagged_at_ms = at_ms_of(tags.get(PROMOTED_AT, ""))
    ordered_by = order_of(tags, end_time_ms)[1] if asked is None else ""
    if asked is not None and asked.kind == "alias":
        return Promotion(how="alias", detail=asked.alias, at_ms=None, ordered_by=ordered_by)
    if tags.get(tag[0]) == tag[1]:
        return Promotion(how="tag", detail=f"{tag[0]}={tag[1]}", at_ms=tagged_at_ms, ordered_by=ordered_by)
    if aliases:
        return Promotion(how="version", detail=", ".join(sorted(aliases)), at_ms=None, ordered_by=ordered_by)
    if allow_unpromoted:
        return Promotion(how="unpromoted", detail="", at_ms=None, ordered_by=ordered_by)
    named = "" if asked is None or str(asked) == run_id else f" (asked for as {asked})"
    raise NotPromoted(
        f"run {run_id}{named} has no tag {tag[0]}={tag[1]}, and no alias was named",
        hint=f"promote it with: {promoting(run_id, tag)}; or build it all the same with --unpromoted",
    )


def promoting(run: str, tag: tuple[str, str]) -> str:
    """The command that promotes a run by this tag."""
    option = "" if tag == USUAL_TAG else f" --promote-tag {shlex.quote(f'{tag[0]}={tag[1]}')}"
    return f"runbake promote {run}{option}"


def changes(before: Mapping[str, str], wanted: Mapping[str, str | None]) -> tuple[Change, ...]:
    """What becomes of each tag of a run; None is "not there"."""
    return tuple(Change(tag=tag, before=before.get(tag), after=after) for tag, after in wanted.items())


def stops_in(tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What runbake wrote on a run of what came from it (`runbake.image`, …), sorted."""
    return tuple(sorted((key, value) for key, value in tags.items() if key.startswith("runbake.")))
