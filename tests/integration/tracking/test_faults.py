"""Servers that are down, slow, broken, hostile, or want other credentials."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.mlflow_server import BasicAuth, running_mlflow
from runbake.errors import (
    ArtifactChanged,
    ArtifactMissing,
    ConfigError,
    RunbakeError,
    RunNotFound,
    TrackingAuthError,
    TrackingError,
    UnsafePath,
)
from runbake.tracking import RunRef, Tracking
from tests.integration.tracking.faulty_server import MODEL_ID, RUN_ID, Answer, Asked, answering, pretending

REF = RunRef.parse(RUN_ID)
MLMODEL = b"flavors: {sklearn: {}}\n"
CONTENTS = {"MLmodel": MLMODEL, "requirements.txt": b"scikit-learn\n", "deep/weights.bin": b"w" * 3_000_000}


def listing(below: str) -> list[dict[str, object]]:
    """What a well-behaved server lists of `CONTENTS`."""
    if below == "deep":
        return [{"path": "weights.bin", "is_dir": False, "file_size": 3_000_000}]
    flat = [
        {"path": name, "is_dir": False, "file_size": len(data)}
        for name, data in CONTENTS.items()
        if "/" not in name
    ]
    return [*flat, {"path": "deep", "is_dir": True}]


def content(path: str) -> Answer:
    """One of those files."""
    return Answer(body=CONTENTS[path])


def refused(uri: str, *, timeout_s: float = 12.0) -> RunbakeError:
    """The error that the first contact with this server ends in."""
    with pytest.raises((TrackingError, ConfigError)) as caught:
        Tracking(uri, timeout_s=timeout_s).fetch_promoted_run(REF)
    return caught.value


def test_a_dead_server_is_named_within_seconds() -> None:
    """No server: an error within 15 s that names the address without its password, and the variable."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    error = refused(f"http://bob:hunter2@127.0.0.1:{port}")
    assert time.monotonic() - started < 15
    assert type(error) is TrackingError
    assert f"cannot reach MLflow at http://[redacted by runbake]@127.0.0.1:{port}" in str(error)
    assert "MLFLOW_TRACKING_URI" in error.hint
    assert "hunter2" not in str(error) + error.hint


def test_a_slow_server_is_given_up() -> None:
    """A server that accepts and never answers is given up after about `timeout_s`."""
    never = threading.Event()

    def hang(asked: Asked) -> Answer:
        never.wait(30)
        return Answer()

    with answering(hang) as server:
        started = time.monotonic()
        error = refused(server.uri, timeout_s=1.0)
        never.set()
    assert time.monotonic() - started < 10
    assert type(error) is TrackingError
    assert "timeout" in str(error)


@pytest.mark.parametrize(
    ("status", "expected", "says"),
    [
        (401, TrackingAuthError, "401"),
        (403, TrackingAuthError, "403"),
        (404, TrackingError, "404"),
        (500, TrackingError, "500"),
        (503, TrackingError, "503"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_refusing_server_is_translated(
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    expected: type[TrackingError],
    says: str,
    as_json: bool,
) -> None:
    """401 and 403 ask for credentials, everything else names the status; a server's text is cut and flat.

    The user's MLFLOW_HTTP_REQUEST_MAX_RETRIES is obeyed: one request, one answer.
    """
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND"}.get(status)
    noise = "no\x1b[31m\n" + "x" * 5000
    answer = (
        Answer.json({"error_code": code or "INTERNAL_ERROR", "message": noise}, status=status)
        if as_json
        else Answer(status=status, body=noise.encode())
    )
    with answering(lambda asked: answer) as server:
        error = refused(server.uri)
        assert len(server.asked) == 1
    assert type(error) is expected
    assert says in str(error)
    assert len(str(error)) < 600
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    if expected is TrackingAuthError:
        assert "MLFLOW_TRACKING_USERNAME" in error.hint
        assert "MLFLOW_TRACKING_TOKEN" in error.hint


@pytest.mark.parametrize(
    ("status", "expected"), [(401, TrackingAuthError), (403, TrackingAuthError), (400, TrackingError)]
)
def test_a_refusal_after_the_first_contact_is_translated(status: int, expected: type[TrackingError]) -> None:
    """What MLflow's own client raises later becomes the same errors."""
    well = pretending()

    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/runs/get"):
            return Answer(status=status, body=b"<html>no</html>")
        return well(asked)

    with answering(respond) as server:
        error = refused(server.uri)
    assert type(error) is expected
    assert f"run {RUN_ID}" in str(error)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("localhost:5000", ConfigError),
        ("gopher://bob:hunter2@host/", TrackingError),
        ("http://", TrackingError),
    ],
)
def test_an_address_that_is_none_is_reported(uri: str, expected: type[RunbakeError]) -> None:
    """A tracking URI without a scheme MLflow knows, or without a host, is an error that shows it."""
    error = refused(uri)
    assert type(error) is expected
    assert "hunter2" not in str(error)
    assert error.hint


def test_a_server_that_comes_back_is_waited_for() -> None:
    """One 503, as a server gives while it restarts, is tried again."""
    answers = iter([Answer(status=503)])
    well = pretending(files=listing)
    with answering(lambda asked: next(answers, None) or well(asked)) as server:
        assert Tracking(server.uri).fetch_promoted_run(REF).run_id == RUN_ID


def test_a_web_page_is_no_mlflow_server() -> None:
    """A server that answers 200 with a page to everything is reported, not crashed on."""
    with answering(lambda asked: Answer(body=b"<html>hello</html>")) as server:
        error = refused(server.uri)
    assert type(error) is TrackingError
    assert server.uri in str(error)


def test_a_model_is_fetched_from_the_pretending_server(tmp_path: Path) -> None:
    """The pretence works: without a fault, the model arrives; each request carries the credentials."""
    with answering(pretending(files=listing, content=content)) as server:
        tracking = Tracking(server.uri.replace("//", "//bob:hunter2@"))
        run = tracking.fetch_promoted_run(REF)
        model = tracking.fetch_model(run, tmp_path / "model")
        assert all(asked.headers.get("authorization", "").startswith("Basic ") for asked in server.asked)
        assert "hunter2" not in repr(tracking) + tracking.page_of_run(RUN_ID) + repr(run)
        assert tracking.page_of_run(RUN_ID) == f"{server.uri}/#/experiments/1/runs/{RUN_ID}"
    assert {f.path: f.sha256 for f in model.files} == {
        path: hashlib.sha256(data).hexdigest() for path, data in CONTENTS.items()
    }


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "../../etc/passwd", "/etc/passwd", "a\\b", "..\\x", "nul\0byte", "x" * 256]
)
@pytest.mark.parametrize("is_directory", [True, False])
def test_a_name_that_leaves_the_directory_is_refused(name: str, is_directory: bool) -> None:
    """A listed name with a separator, dots, NUL or nothing at all is an UnsafePath before any download."""

    def files(below: str) -> list[dict[str, object]]:
        return [*listing(below), {"path": name, "is_dir": is_directory, "file_size": 1}]

    with answering(pretending(files=files, content=content)) as server:
        with pytest.raises(UnsafePath) as caught:
            Tracking(server.uri).fetch_promoted_run(REF)
        assert not any("/m/artifacts/" in asked.path for asked in server.asked)
    assert caught.value.hint


def test_directories_without_end_are_refused() -> None:
    """A listing that nests forever ends in an error, not in a recursion."""

    def files(below: str) -> list[dict[str, object]]:
        return [{"path": "again", "is_dir": True}]

    with (
        answering(pretending(files=files, content=content)) as server,
        pytest.raises(UnsafePath, match="nest deeper than 32"),
    ):
        Tracking(server.uri).fetch_promoted_run(REF)


def test_two_artifacts_under_one_path_are_refused(tmp_path: Path) -> None:
    """A server that lists a name twice gets nothing written over."""

    def files(below: str) -> list[dict[str, object]]:
        return [
            *listing(below),
            *([{"path": "MLmodel", "is_dir": False, "file_size": 1}] if not below else []),
        ]

    with answering(pretending(files=files, content=content)) as server:
        tracking = Tracking(server.uri)
        run = tracking.fetch_promoted_run(REF)
        with pytest.raises(UnsafePath, match="two artifacts want the path"):
            tracking.fetch_model(run, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:9/api/2.0/mlflow-artifacts/artifacts/1/m/artifacts",
        "mlflow-artifacts://evil.example.com/1/models/m/artifacts",
    ],
)
def test_credentials_go_to_no_other_host(location: str) -> None:
    """A model that claims to be on another host is refused."""
    with answering(pretending(files=listing, location=location)) as server:
        error = refused(server.uri)
    assert "not at the tracking server" in str(error)
    assert "credentials" in error.hint


def test_a_location_cannot_climb_out_of_the_artifact_root() -> None:
    """`..` in a model's location is refused."""
    with answering(pretending(files=listing, location="mlflow-artifacts:/1/../../secret")) as server:
        assert type(refused(server.uri)) is UnsafePath


def test_a_broken_transfer_is_tried_again(tmp_path: Path) -> None:
    """A connection that breaks in the middle of a file is tried again, and the progress stays honest."""
    attempts: list[str] = []
    seen: list[int] = []

    def flaky(path: str) -> Answer:
        attempts.append(path)
        if path == "deep/weights.bin" and attempts.count(path) == 1:
            return Answer(body=b"w" * 2_000_000, promised_bytes=3_000_000)
        return content(path)

    with answering(pretending(files=listing, content=flaky)) as server:
        tracking = Tracking(server.uri)
        run = tracking.fetch_promoted_run(REF)
        model = tracking.fetch_model(run, tmp_path / "model", progress=lambda done, total: seen.append(done))
    assert attempts.count("deep/weights.bin") == 2
    assert [f.sha256 for f in model.files if f.path == "deep/weights.bin"] == [
        hashlib.sha256(b"w" * 3_000_000).hexdigest()
    ]
    assert seen[-1] == sum(map(len, CONTENTS.values()))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(body=b"short"), ArtifactChanged),
        (
            Answer.json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}, status=404),
            ArtifactMissing,
        ),
        (Answer(status=403), TrackingAuthError),
        (Answer(status=500), TrackingError),
        (Answer(body=b"w", promised_bytes=3_000_000), TrackingError),
    ],
)
def test_a_failed_download_leaves_nothing(
    tmp_path: Path, answer: Answer, expected: type[TrackingError]
) -> None:
    """Short, missing, forbidden, failing or breaking for good: each its own error, nothing on disk."""

    def broken(path: str) -> Answer:
        return answer if path == "deep/weights.bin" else content(path)

    with answering(pretending(files=listing, content=broken)) as server:
        tracking = Tracking(server.uri)
        run = tracking.fetch_promoted_run(REF)
        with pytest.raises(TrackingError) as caught:
            tracking.fetch_model(run, tmp_path / "model")
    assert type(caught.value) is expected
    assert list(tmp_path.iterdir()) == []


def test_file_names_are_quoted_on_the_wire(tmp_path: Path) -> None:
    """Names with spaces, percent signs, question marks and umlauts arrive as they are."""
    odd = "a %41 b?c&ü;'\"$(x).bin"
    files: Callable[[str], list[dict[str, object]]] = lambda below: (  # noqa: E731
        [*listing(below), *([{"path": odd, "is_dir": False, "file_size": 3}] if not below else [])]
    )
    with answering(
        pretending(files=files, content=lambda path: Answer(body=b"odd") if path == odd else content(path))
    ) as server:
        tracking = Tracking(server.uri)
        model = tracking.fetch_model(tracking.fetch_promoted_run(REF), tmp_path / "model")
    assert (model.root / odd).read_bytes() == b"odd"


def test_a_model_on_this_machine_s_disk(tmp_path: Path) -> None:
    """A local directory, where it is allowed, is read in place; a symbolic link out of it is refused."""
    stored = tmp_path / "stored"
    for path, data in CONTENTS.items():
        (stored / path).parent.mkdir(parents=True, exist_ok=True)
        (stored / path).write_bytes(data)
    (stored / "link.bin").symlink_to("deep/weights.bin")
    with answering(pretending(location=stored.as_uri())) as server:
        tracking = Tracking(server.uri, local_artifacts=True)
        model = tracking.fetch_model(tracking.fetch_promoted_run(REF), tmp_path / "model")
        assert (model.root / "link.bin").read_bytes() == CONTENTS["deep/weights.bin"]
        assert not (model.root / "link.bin").is_symlink()
        (stored / "hosts").symlink_to("/etc/hosts")
        with pytest.raises(UnsafePath, match="'hosts' is a symbolic link out"):
            tracking.fetch_promoted_run(REF)


def test_a_server_with_its_files_elsewhere_says_so(tmp_path: Path) -> None:
    """A directory that only the server can see is refused; where it is allowed, it is ArtifactMissing."""
    with answering(pretending(location=(tmp_path / "nowhere").as_uri())) as server:
        error = refused(server.uri)
        with pytest.raises(ArtifactMissing) as caught:
            Tracking(server.uri, local_artifacts=True).fetch_promoted_run(REF)
    assert type(error) is TrackingError
    assert "--local-artifacts" in error.hint
    assert "a disk of its own" in caught.value.hint


def test_a_real_server_with_a_login(tmp_path: Path) -> None:
    """MLflow's own basic-auth: without or with wrong credentials 401, with them a plain "no such run"."""
    login = BasicAuth(username="admin", password="correct horse battery")
    with running_mlflow(tmp_path, deadline_s=90, basic_auth=login) as uri:
        assert type(refused(uri)) is TrackingAuthError
        wrong = refused(uri.replace("//", "//admin:sesame-open@"))
        assert type(wrong) is TrackingAuthError
        assert "sesame-open" not in str(wrong)
        right = refused(uri.replace("//", "//admin:correct%20horse%20battery@"))
    assert type(right) is RunNotFound
    assert "horse" not in str(right)


def test_a_model_id_leads_to_its_run_on_the_pretending_server() -> None:
    """`models:/m-ID` needs the tag on its run, which is there."""
    with answering(pretending(files=listing, content=content)) as server:
        run = Tracking(server.uri).fetch_promoted_run(RunRef.parse(f"models:/{MODEL_ID}"))
    assert (run.run_id, run.promotion.how) == (RUN_ID, "tag")
