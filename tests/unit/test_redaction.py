"""Secrets that MLflow carried stay out of what runbake writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.redaction import MARKER, cut, redacted

SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1" * 18,
    "glpat-" + "x" * 20,
    "xoxb-1234567890-abcdef",
    "dapi" + "0" * 32,
    "sk-" + "A" * 24,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_found_by_their_shape(secret: str) -> None:
    """A token in the middle of a text is replaced, the rest stays."""
    assert redacted(f"before {secret} after") == f"before {MARKER} after"


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "db.password", "apiKey", "api-key", "aws_secret", "HF_TOKEN", "authToken"],
)
def test_secrets_are_found_by_their_name(name: str) -> None:
    """Whatever stands under such a name is replaced."""
    assert redacted("hunter2", name=name) == MARKER


@pytest.mark.parametrize(
    "name", ["max_tokens", "tokenizer", "C", "secretary", "keyboard", "n_tokens", "passes"]
)
def test_harmless_names_keep_their_values(name: str) -> None:
    """A parameter that only sounds like a secret is not lost."""
    assert redacted("42", name=name) == "42"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host/x", f"https://{MARKER}@host/x"),
        ("s3://key:secret@bucket/a?b=c", f"s3://{MARKER}@bucket/a?b=c"),
        ("postgresql+psycopg://u:p@h/db", f"postgresql+psycopg://{MARKER}@h/db"),
        ("ftp://a:b?c#d@h", f"ftp://{MARKER}@h"),
        ("https://host/x@y", "https://host/x@y"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
    ],
)
def test_credentials_in_urls_are_replaced(url: str, shown: str) -> None:
    """User and password go, host and path stay."""
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://acc.blob/x?sv=1&sig=a%2Fb%3D&sp=r", f"https://acc.blob/x?sv=1&sig={MARKER}&sp=r"),
        ("s3://b/k?X-Amz-Signature=abc&x=1", f"s3://b/k?X-Amz-Signature={MARKER}&x=1"),
        (
            "https://b/k?X-Amz-Credential=me%2F1&X-Amz-Security-Token=t&X-Amz-Signature=f",
            f"https://b/k?X-Amz-Credential={MARKER}&X-Amz-Security-Token={MARKER}&X-Amz-Signature={MARKER}",
        ),
        ("https://g/o?x-goog-signature=ff", f"https://g/o?x-goog-signature={MARKER}"),
        ('{"a": "{\\"b\\": \\"u?sig=x\\"}"}', f'{{"a": "{{\\"b\\": \\"u?sig={MARKER}\\"}}"}}'),
        ("https://host/x?design=1&sigma=2", "https://host/x?design=1&sigma=2"),
    ],
)
def test_signatures_of_urls_are_replaced(url: str, shown: str) -> None:
    """Whoever has a presigned URL or one with a SAS needs nothing else; once more changes nothing."""
    assert redacted(url) == shown
    assert redacted(shown) == shown


@given(st.text(max_size=200), st.integers(0, 50))
def test_cut_keeps_the_beginning_and_counts_the_rest(text: str, limit: int) -> None:
    """What is cut is counted; what fits is untouched."""
    shown = cut(text, limit)

    if len(text) <= limit:
        assert shown == text
    else:
        assert shown.startswith(text[:limit])
        assert f"{len(text) - limit} more characters" in shown


@pytest.mark.parametrize("unit", ["x", "a.", "a://", "-----BEGIN ", "eyJ", "ghp_", "_", "sk-", "://", "sig="])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """A megabyte made to slow the patterns down is done before the test's own time-out."""
    assert redacted(unit * (1_000_000 // len(unit)))
