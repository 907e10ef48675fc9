"""What uv is given, and what of its words is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runbake.environment.explain import error_of, explanation_of
from runbake.environment.uv import UvAnswer, find_uv, secrets_of, without_urls
from runbake.errors import DiskFull, IndexUnreachable, LockError, NoWheel, Unresolvable

words = st.text(st.characters(categories=("Lu", "Ll", "Nd")), min_size=4, max_size=20)


def answer(stderr: str) -> UvAnswer:
    """A failed uv that said this."""
    return UvAnswer(status=1, stdout=b"", stderr=stderr)


@given(words, words, words)
def test_no_url_and_no_credential_survives(user: str, password: str, word: str) -> None:
    """Wherever uv repeats the index's URL or its password, neither is shown."""
    host = f"{word}.test".lower()
    environment = {"UV_INDEX": f"private=https://{user}:{password}@{host}/simple"}
    text = f"error: at https://{user}:{password}@{host}/simple/x/ <https://{host}> and {password}"
    shown = without_urls(text, secrets=secrets_of(environment))
    assert password not in shown.replace("[url]", "").replace("[redacted]", "").replace("error: at", "")
    assert host not in shown


def test_the_secrets_are_those_that_uv_reads() -> None:
    """User and password of every index URL, decoded too, and uv's own variables for them."""
    environment = {
        "UV_DEFAULT_INDEX": "https://alice:p%40ss@a.test/simple",
        "UV_EXTRA_INDEX_URL": "https://tok1@b.test/ https://c.test/",
        "UV_INDEX_CORP_PASSWORD": "hunter2",
        "HOME": "https://not:ours@d.test",
    }
    assert secrets_of(environment) == ("hunter2", "p%40ss", "alice", "p@ss", "tok1")


def test_settings_that_change_the_result_do_not_reach_uv() -> None:
    """The user's index settings pass; what would undo hash checks or our dates does not."""
    given_environment = {
        "UV_INDEX": "https://a.test",
        "UV_NO_VERIFY_HASHES": "1",
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "PATH": "/bin",
    }
    uv = find_uv(given_environment)
    assert dict(uv.environment) == {
        "UV_INDEX": "https://a.test",
        "PATH": "/bin",
        "NO_COLOR": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    assert "a.test" not in repr(uv)


def test_uvs_words_become_errors_of_their_own() -> None:
    """Each way in which uv fails has its error; uv's explanation is in it."""
    said = {
        "error: No solution found\n all versions of docopt have no usable wheels": NoWheel,
        "error: No solution found\n tf==2 has no wheels with a matching Python ABI tag": NoWheel,
        "error: No solution found\n there is no version of numpy==99": Unresolvable,
        "error: No solution found\n x has no usable wheels\nhint: `x` was filtered by `exclude-newer`": (
            Unresolvable
        ),
        "error: No solution found\nhint: could not be queried (401 Unauthorized)": IndexUnreachable,
        "error: Request failed after 3 retries\n  cause: Connection refused": IndexUnreachable,
        "error: Failed to parse: uv.toml": LockError,
        "error: Failed to write\n  cause: No space left on device (os error 28)": DiskFull,
    }
    for text, kind in said.items():
        error = error_of(answer(text), doing="locking")
        assert type(error) is kind, text
        assert text.splitlines()[-1] in str(error)
        assert error.hint


def test_a_package_without_wheels_is_named_first() -> None:
    """The first line says which package, also where uv breaks the line between name and verb."""
    wrapped = "error: No solution found\n all versions of fasttext\n         have no usable wheels"
    error = error_of(answer(wrapped), doing="locking")
    assert str(error).splitlines()[0].endswith(": all versions of fasttext")


def test_bytes_that_are_not_the_locked_ones_are_named() -> None:
    """A hash mismatch names the wheel and says to lock again."""
    error = error_of(answer("error: Failed\n  cause: Hash mismatch for `six==1.0`\n"), doing="installing")
    assert "six==1.0" in str(error)
    assert "--relock" in error.hint


def test_a_long_explanation_is_shortened_and_notices_go() -> None:
    """uv's derivations can be hundreds of lines; the start and the conclusion stay."""
    text = "warning: old news\nResolved 3 packages in 2ms\n" + "\n".join(f"because {n}" for n in range(500))
    lines = explanation_of(text).splitlines()
    assert len(lines) < 40
    assert lines[0] == "because 0"
    assert lines[-1] == "because 499"
    assert any("left out" in line for line in lines)
