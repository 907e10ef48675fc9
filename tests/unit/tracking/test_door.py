"""Credentials, defaults and foreign exceptions."""

from __future__ import annotations

import errno

import pytest
import requests

import runbake.tracking
from runbake.errors import ConfigError, DiskFull, RunbakeError, RunNotFound, TrackingAuthError, TrackingError
from runbake.redaction import MARKER
from runbake.tracking import MLFLOW_DEFAULTS, Tracking, use_mlflow_defaults
from runbake.tracking._door import Door, one_line, without_userinfo


@pytest.fixture
def door() -> Door:
    """A door to a server with credentials in its URI."""
    return Door("https://bob:hunter2@mlflow.example.com/base/", timeout_s=1)


def test_foreign_text_fits_a_message() -> None:
    """One line, no credentials, no control characters, bounded."""
    assert one_line("at http://bob:pw@host/x?sig=a") == f"at http://{MARKER}@host/x?sig={MARKER}"
    assert one_line("a\nb\x1b[31mc\u2028d") == "a b [31mc d"
    assert len(one_line("x" * 10_000)) == 300


def test_the_password_is_never_shown(door: Door) -> None:
    """Neither the door's text nor its errors hold the password; the page's address has no user at all."""
    with pytest.raises(TrackingError) as caught, door.translated("run 1"):
        raise requests.ConnectionError("https://bob:hunter2@mlflow.example.com refused")
    assert "hunter2" not in repr(door) + str(caught.value) + caught.value.hint
    assert f"https://{MARKER}@mlflow.example.com/base" in str(caught.value)
    assert without_userinfo(door.uri) == "https://mlflow.example.com/base"


def test_defaults_yield_to_the_user() -> None:
    """What the user set stays; the rest is filled in, telemetry off included."""
    environment = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    use_mlflow_defaults(environment)
    assert environment == {**MLFLOW_DEFAULTS, "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_no_server_is_a_configuration_error() -> None:
    """An empty URI names the variable to set."""
    with pytest.raises(ConfigError) as caught:
        Tracking(" ")
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


@pytest.mark.parametrize(
    "uri", ["garbage", "localhost:5000", "mlflow.example.com:443/x", "http//h.x", "http://h.x "]
)
def test_a_slip_of_the_pen_is_no_new_directory(uri: str) -> None:
    """MLflow would take such a text for a directory, make it, and find no run there."""
    with pytest.raises(ConfigError, match="tracking URI"):
        Tracking(uri)


@pytest.mark.parametrize("uri", ["databricks", "sqlite:///x.db", "file:///x", "databricks://profile", "."])
def test_what_mlflow_can_read_is_left_to_it(uri: str) -> None:
    """Databases, directories that are there, and the schemes of its plugins."""
    assert uri in repr(Tracking(uri))


class ClientError(Exception):
    """Stands for what boto3's client raises; known by the module it comes from."""


ClientError.__module__ = "botocore.exceptions"


def answered(status: int) -> requests.HTTPError:
    """The exception of a request that was answered with this status."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status}", response=response)


@pytest.mark.parametrize(
    ("foreign", "ours", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull, "no space left"),
        (OSError(errno.EACCES, "Permission denied", "/x/y"), TrackingError, "/x/y': Permission denied"),
        (requests.ReadTimeout("slow"), TrackingError, "timeout"),
        (requests.ConnectTimeout("slow"), TrackingError, "timeout"),
        (requests.ConnectionError("refused"), TrackingError, "cannot reach MLflow"),
        (requests.exceptions.SSLError("bad certificate"), TrackingError, "bad certificate"),
        (answered(401), TrackingAuthError, "401"),
        (answered(403), TrackingAuthError, "403"),
        (answered(404), RunNotFound, "has no run 1"),
        (answered(502), TrackingError, "502"),
        (ClientError("An error occurred (AccessDenied)"), TrackingError, "AccessDenied"),
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), TrackingError, "'boto3'"),
    ],
)
def test_foreign_exceptions_become_ours(
    door: Door, foreign: Exception, ours: type[RunbakeError], says: str
) -> None:
    """Each foreign failure is one of our errors, raised from it."""
    with pytest.raises(RunbakeError, match=r"run 1|disk") as caught, door.translated("run 1"):
        raise foreign
    assert type(caught.value) is ours
    assert says in str(caught.value)
    assert caught.value.__cause__ is foreign


def test_a_setting_that_mlflow_cannot_read_is_named(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word where MLflow wants a number names its variable."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="MLFLOW_HTTP_REQUEST_TIMEOUT is 'soon'"), door.translated("run 1"):
        MLFLOW_HTTP_REQUEST_TIMEOUT.get()


@pytest.mark.parametrize("bug", [KeyError("x"), ZeroDivisionError(), ModuleNotFoundError("x", name="x")])
def test_bugs_stay_bugs(door: Door, bug: Exception) -> None:
    """What is nobody's fault but ours passes through."""
    with pytest.raises(type(bug)), door.translated("run 1"):
        raise bug


def test_public_names_are_sorted() -> None:
    """`__all__` is sorted and complete."""
    assert list(runbake.tracking.__all__) == sorted(runbake.tracking.__all__)
    assert all(hasattr(runbake.tracking, name) for name in runbake.tracking.__all__)
