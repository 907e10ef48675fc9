"""How RUN is read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.errors import InvalidReference
from runbake.tracking import ByExperiment, RunRef

ID = "0123456789abcdef0123456789abcdef"
HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
NAME = st.text(st.characters(exclude_characters="/:\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name.strip() and name not in (".", "..")
)
PART = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda part: part not in (".", "..") and part == part.strip()
)
ALIAS = st.from_regex(r"[A-Za-z_-][\w-]{0,20}", fullmatch=True).filter(
    lambda alias: alias.lower() != "latest" and not (alias[0] in "vV" and alias[1:].isdigit())
)
REFERENCES = st.one_of(
    HEX,
    HEX.map("runs:/{}".format),
    st.tuples(HEX, st.lists(PART, min_size=1)).map(lambda both: f"runs:/{both[0]}/{'/'.join(both[1])}"),
    HEX.map("models:/m-{}".format),
    st.tuples(NAME, st.integers(min_value=1)).map(lambda both: f"models:/{both[0]}/{both[1]}"),
    st.tuples(NAME, ALIAS).map("models:/{0[0]}@{0[1]}".format),
)


@given(REFERENCES)
def test_parsing_keeps_the_text(text: str) -> None:
    """`str(RunRef.parse(s)) == s` for everything that is accepted."""
    assert str(RunRef.parse(text)) == text


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way, and what it accepts it keeps."""
    for candidate in (text, f"runs:/{text}", f"models:/{text}", f"runs:/{ID}/{text}"):
        with suppress(InvalidReference):
            assert str(RunRef.parse(candidate)) == candidate


@pytest.mark.parametrize(
    ("text", "kind", "fields"),
    [
        (ID, "run", {"run_id": ID}),
        (f"runs:/{ID}", "run", {"run_id": ID}),
        (f"runs:/{ID}/model", "run", {"run_id": ID, "name": "model"}),
        (f"runs:/{ID}/a/b c", "run", {"run_id": ID, "name": "a/b c"}),
        (f"models:/m-{ID}", "model", {"model_id": f"m-{ID}"}),
        (f"models:/m-{ID}/3", "version", {"name": f"m-{ID}", "version": "3"}),
        ("models:/fraud/12", "version", {"name": "fraud", "version": "12"}),
        ("models:/fraud@champion", "alias", {"name": "fraud", "alias": "champion"}),
        ("models:/a@b@champion", "alias", {"name": "a@b", "alias": "champion"}),
        ("models:/a@b/1", "version", {"name": "a@b", "version": "1"}),
    ],
)
def test_each_form_is_taken_apart(text: str, kind: str, fields: dict[str, str]) -> None:
    """Every accepted form sets its own fields and no others."""
    empty = {"run_id": "", "model_id": "", "name": "", "version": "", "alias": ""}
    ref = RunRef.parse(text)
    assert ref.kind == kind
    assert {field: getattr(ref, field) for field in empty} == empty | fields


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "fraud",
        ID.upper(),
        ID + "\n",
        ID[:-1],
        "runs:/",
        f"runs:/{ID}/",
        f"runs:/{ID}/../other",
        f"runs:/{ID}//x",
        f"runs:/{ID}/a\\b",
        "models:/",
        "models:/fraud",
        "models:/fraud/",
        "models:/fraud/0",
        "models:/fraud/01",
        "models:/fraud/1.0",
        "models:/fraud/latest",
        "models:/fraud/Production",
        "models:/fraud/1/2",
        "models:/fraud@latest",
        "models:/fraud@v1",
        "models:/fraud@",
        "models:/fraud@a b",
        "models:/@champion",
        "models:/ /1",
        "models:/../1",
        "models:/a:b/1",
        "s3://bucket/model",
        "file:///etc/passwd",
    ],
)
def test_everything_else_is_refused_with_the_list(text: str) -> None:
    """What is no reference is refused, and the hint lists what is one."""
    with pytest.raises(InvalidReference) as caught:
        RunRef.parse(text)
    assert "runs:/RUN_ID/NAME" in caught.value.hint


def test_an_experiment_shows_as_it_was_asked_for() -> None:
    """The text of `ByExperiment` is the option the user gave."""
    assert str(ByExperiment(name="fraud 2026")) == "--experiment fraud 2026"
