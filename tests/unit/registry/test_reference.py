"""References: what is read, what is refused, and that reading loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.errors import InvalidReference
from runbake.image.blob import Digest
from runbake.registry import ImageRef, is_loopback
from runbake.registry.reference import check_reference, check_tag

DIGEST = "sha256:" + "0123456789abcdef" * 4

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
ports = st.integers(1, 65535).map(lambda port: f":{port}")
hosts = st.one_of(
    st.builds(lambda *parts: ".".join(parts), labels, labels, labels),
    st.builds(str.__add__, st.builds(lambda *parts: ".".join(parts), labels, labels), ports),
    st.builds(str.__add__, labels, ports),
    st.just("localhost"),
    st.builds(str.__add__, st.sampled_from(["localhost", "127.0.0.1", "[::1]", "[fe80::1]"]), ports),
).filter(lambda host: host not in ("index.docker.io", "registry-1.docker.io"))
components = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
names = st.lists(components, min_size=1, max_size=4).map("/".join)
tags = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
digests = st.one_of(st.none(), st.binary().map(Digest.of))


@given(hosts, names, tags, digests)
def test_what_is_written_is_read(host: str, name: str, tag: str, digest: Digest | None) -> None:
    """Every reference is read as what it was written from, and `str(parse(s)) == s`."""
    ref = ImageRef(host=host, name=name, tag=tag, digest=digest)
    assert ImageRef.parse(str(ref)) == ref
    assert str(ImageRef.parse(str(ref))) == str(ref)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text is either refused with a clear error or read into something that reads back the same."""
    try:
        ref = ImageRef.parse(text)
    except InvalidReference:
        return
    assert ImageRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "host", "name", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", "", None),
        ("python:3.11", "docker.io", "library/python", "3.11", None),
        ("docker.io/python", "docker.io", "library/python", "", None),
        ("index.docker.io/org/x", "docker.io", "org/x", "", None),
        ("org/model", "docker.io", "org/model", "", None),
        ("localhost/model", "localhost", "model", "", None),
        ("localhost:5000/model", "localhost:5000", "model", "", None),
        ("reg.example.org/a/b/c:v1", "reg.example.org", "a/b/c", "v1", None),
        ("[::1]:5000/a:t", "[::1]:5000", "a", "t", None),
        (f"h.example/a:t@{DIGEST}", "h.example", "a", "t", DIGEST),
        (f"h.example/a@{DIGEST}", "h.example", "a", "", DIGEST),
    ],
)
def test_forms(text: str, host: str, name: str, tag: str, digest: str | None) -> None:
    """Short names mean Docker Hub, as Docker reads them; the rest is taken literally."""
    ref = ImageRef.parse(text)
    assert (ref.host, ref.name, ref.tag, ref.digest) == (host, name, tag, digest)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["the name"]),
        ("h.example/", ["the name ''"]),
        ("h.example/Upper:-t@sha256:x", ["the name 'Upper'", "the tag '-t'", "not a sha256 digest"]),
        ("-h-.example/a//b", ["the host '-h-.example'", "the name 'a//b'"]),
        ("h.example:99999/a", ["the port 99999"]),
        ("h.example:0/a", ["the port 0"]),
        ("https://h.example/a", ["the host 'https:'", "the name '/h.example/a'"]),
        ("h.example/a:", ["the tag ''"]),
        ("h.example/a@", ["not a sha256 digest: ''"]),
        ("h.example/a:b/c", ["the tag 'b/c'"]),
        ("h.example/../../etc", ["the name"]),
        ("h.example/a?x=1", ["the name"]),
        ("h.example/a\n", ["the name"]),
        ("h.example/a:t\n", ["the tag"]),
        ("h.example/" + "a" * 256, ["256 characters, 255 are allowed"]),
        ("h.example/a:" + "t" * 129, ["the tag"]),
        ("u:p@h.example/a", ["not a sha256 digest"]),
    ],
)
def test_refusals_list_everything(text: str, problems: list[str]) -> None:
    """A bad reference is refused with everything that is wrong, and how to write one."""
    with pytest.raises(InvalidReference) as caught:
        ImageRef.parse(text)
    for problem in problems:
        assert problem in str(caught.value)
    assert str(caught.value).count(";") == len(problems) - 1
    assert "HOST/NAME:TAG" in caught.value.hint


@pytest.mark.parametrize("text", ["0123456789abcdef" * 2, "runs:/0123/model", "models:/fraud@champion"])
def test_a_run_is_no_image(text: str) -> None:
    """A run where an image is wanted is called that, before Docker Hub is asked for it."""
    with pytest.raises(InvalidReference, match="a run's reference") as caught:
        ImageRef.parse(text)
    assert "runbake trace" in caught.value.hint


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a b", "ä", "a/b", "a" * 129, "a\n", "sha256:x"])
def test_bad_tags(tag: str) -> None:
    """What is no tag is refused."""
    with pytest.raises(InvalidReference, match="not a tag"):
        check_tag(tag)


def test_good_references() -> None:
    """Tags and digests pass as they are."""
    assert [check_reference(text) for text in ("latest", "_a", "1.0-b", DIGEST)] == [
        "latest",
        "_a",
        "1.0-b",
        DIGEST,
    ]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("10.0.0.1:5000", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("registry.example.org:5000", False),
        ("[2001:db8::1]:5000", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only this machine's own addresses count as loopback, whatever they begin with."""
    assert is_loopback(host) == expected
