"""Who counts as promoted, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.errors import ConfigError, NotPromoted
from runbake.tracking import Promotion, RunRef, Tracking
from runbake.tracking._promotion import PROMOTED_AT, at_ms_of, order_of, promoting, promotion_of, rfc3339_of

ID = "0123456789abcdef0123456789abcdef"
TAG = ("promote", "true")
AT = "2026-11-22T23:18:30.125Z"
AT_MS = 1_795_389_510_125


def promotion(
    text: str | None, tags: dict[str, str], aliases: tuple[str, ...] = (), *, allow: bool = False
) -> Promotion:
    """The promotion of a run that was asked for as `text`."""
    return promotion_of(
        None if text is None else RunRef.parse(text),
        tags=tags,
        end_time_ms=5,
        aliases=aliases,
        tag=TAG,
        allow_unpromoted=allow,
        run_id=ID,
    )


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_a_moment_survives_its_text(at_ms: int) -> None:
    """Milliseconds to RFC 3339 and back are the same."""
    assert at_ms_of(rfc3339_of(at_ms)) == at_ms


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-11-22", "2026-13-01T00:00:00Z", "1795389510", "0001-01-01T00:00:00+23:59", "x" * 9000],
)
def test_what_is_no_time_is_none(text: str) -> None:
    """Anybody can write the tag: text that is no RFC 3339 moment counts as none."""
    assert at_ms_of(text) is None
    assert order_of({PROMOTED_AT: text}, 7) == (7, "end_time")


@pytest.mark.parametrize("text", [AT, "2026-11-23T00:18:30.125+01:00", "2026-11-22t23:18:30.125z"])
def test_any_rfc3339_moment_is_read(text: str) -> None:
    """Offsets and lower case are RFC 3339, too."""
    assert order_of({PROMOTED_AT: text}, 7) == (AT_MS, "promoted_at")


def test_the_tag_promotes() -> None:
    """A tagged run is promoted at the moment `promote` wrote; which time was compared is said."""
    tags = {"promote": "true", PROMOTED_AT: AT}
    assert promotion(ID, tags) == Promotion(how="tag", detail="promote=true", at_ms=AT_MS, ordered_by="")
    assert promotion(None, tags).ordered_by == "promoted_at"
    assert promotion(None, {"promote": "true"}) == Promotion(
        how="tag", detail="promote=true", at_ms=None, ordered_by="end_time"
    )


def test_an_alias_promotes_whatever_the_tag_says() -> None:
    """Naming an alias is naming a choice somebody made."""
    assert promotion("models:/fraud@champion", {"promote": "false"}, ("champion", "other")) == Promotion(
        how="alias", detail="champion", at_ms=None, ordered_by=""
    )


def test_a_version_is_promoted_by_the_aliases_it_has() -> None:
    """A plain version needs the tag, or an alias that points to it now."""
    assert promotion("models:/fraud/3", {}, ("b", "a")) == Promotion(
        how="version", detail="a, b", at_ms=None, ordered_by=""
    )
    with pytest.raises(NotPromoted):
        promotion("models:/fraud/3", {})


@pytest.mark.parametrize("tags", [{}, {"promote": "True"}, {"promote": "false"}, {PROMOTED_AT: AT}])
def test_anything_else_is_not_promoted(tags: dict[str, str]) -> None:
    """Another value, or the time alone, promotes nothing; it can be allowed, and is recorded then."""
    with pytest.raises(NotPromoted, match=ID) as refused:
        promotion(ID, tags)
    assert refused.value.hint.startswith(f"promote it with: runbake promote {ID}; or")
    assert promotion(ID, tags, allow=True).how == "unpromoted"


def test_the_way_out_promotes_by_the_tag_that_was_asked_for() -> None:
    """Whoever copies the command is promoted afterwards, also where the tag is not the usual one."""
    assert promoting(ID, TAG) == f"runbake promote {ID}"
    assert promoting("RUN", ("stage", "go live")) == "runbake promote RUN --promote-tag 'stage=go live'"


@pytest.mark.parametrize(
    "tag", [("", "x"), ("a`b", "x"), ("a", "it's"), ("a", "b\\"), ("a\nb", "x"), ("a" * 251, "x")]
)
def test_a_tag_that_no_filter_can_express_is_refused(tag: tuple[str, str]) -> None:
    """MLflow's filters cannot quote everything; such a promotion tag is a configuration error."""
    with pytest.raises(ConfigError):
        Tracking("http://localhost", promote_tag=tag)
