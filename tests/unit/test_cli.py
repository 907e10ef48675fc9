"""The command line as a user reads it: help with examples, documented commands, errors with a way out."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from lab.exit_codes import README, with_table
from runbake.cli import cli, report_end, report_error
from runbake.cli.context import Settings, insecure_registry_option, open_registries
from runbake.cli.story import TerminalStory
from runbake.cli.trace import shape_of
from runbake.crew import Stopped
from runbake.errors import (
    ConfigError,
    EngineMissing,
    InvalidReference,
    NotPromoted,
    RegistryUnreachable,
    RunbakeError,
    TraceError,
)
from runbake.report import failed
from tests.unit.samples import HOSTILE

RUN = "0" * 32


def invoke(*arguments: str, environment: dict[str, str] | None = None) -> click.testing.Result:
    settings = Settings(environment=environment or {}, console=Console(stderr=True))
    return CliRunner().invoke(cli, arguments, obj=settings)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    """`--help` says what it does and shows one call."""
    result = invoke(name, "--help")

    assert result.exit_code == 0
    assert f"Example: runbake {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_says_what_it_is_for(name: str) -> None:
    """No flag is left without a word."""
    options = [option for option in cli.commands[name].params if isinstance(option, click.Option)]

    assert [
        option.name for option in options if not option.help and not isinstance(option.type, click.Choice)
    ] == []


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_readme_mentions_every_command(name: str) -> None:
    """A command that nobody can find is not there."""
    text = README.read_text(encoding="utf-8")
    assert f"runbake {name}" in text or f"`{name}" in text


def test_the_readme_lists_the_exit_codes_that_there_are() -> None:
    """The generated table is current; `python -m lab.exit_codes` mends it."""
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("containerize", "--base", "b", "--repository", "h.x/n"), "RUN or --experiment"),
        (
            ("containerize", RUN, "--experiment", "e", "--base", "b", "--repository", "h.x/n"),
            "RUN or --experiment",
        ),
        (("containerize", RUN, "--base", "b"), "--repository, --output"),
        (("containerize", RUN, "--base", "b", "--repository", "h.x/n:tag"), "--tag"),
        (("containerize", RUN, "--base", "b", "--repository", "h.x/n", "--platform", "linux/s390x"), "s390x"),
        (("containerize", RUN, "--base", "b", "--repository", "h.x/n", "--platform", ","), "linux/amd64"),
        (("containerize", RUN, "--base", "b", "--source-date-epoch", str(10**18)), "--source-date-epoch"),
        (("containerize", RUN, "--base", "b", "--output", "a.tar", "--output", "b.tar"), "one .tar file"),
        (("containerize", RUN, "--base", "b", "--output", "a.zip"), "FILE.tar"),
        (("containerize", RUN, "--base", "b", "--output", "a.tar.gz"), "FILE.tar"),
        (("containerize", RUN, "--repository", "h.x/n"), "--base"),
        (("contanerize",), "No such command"),
    ],
)
def test_wrong_usage_is_named(arguments: tuple[str, ...], told: str) -> None:
    """What contradicts itself is refused with exit status 2, before anything is read."""
    result = invoke(*arguments, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})

    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--tag", "a/../b"), InvalidReference),
        (("--tag", ""), InvalidReference),
        (("--lock-date", "yesterday"), ConfigError),
        (("--lock-date", "0001-01-01T00:00:00+23:59"), ConfigError),
        (("--promote-tag", "x"), ConfigError),
        (("--base", "https://h.x/n"), InvalidReference),
        (("--cache", "/proc/none"), ConfigError),
    ],
)
def test_bad_settings_are_refused_and_reported(
    arguments: tuple[str, ...], error: type[RunbakeError], tmp_path: Path
) -> None:
    """Before anything is read; image.json says so, in the place of an earlier one that said "done"."""
    report = tmp_path / "image.json"
    report.write_text('{"status": "done"}')
    common = ("containerize", RUN, "--base", "h.x/b", "--repository", "h.x/n", "--report", str(report))
    result = invoke(*common, "--tracking-uri", "http://127.0.0.1:9", *arguments)

    assert type(result.exception) is error
    told = json.loads(report.read_text())
    assert (told["status"], told["asked"]) == ("failed", RUN)
    assert (told["error"]["kind"], told["error"]["exitCode"]) == (error.__name__, error.exit_code)


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the place of its directory: an error before anything is built."""
    (tmp_path / "file").touch()
    result = invoke(
        "containerize", RUN, "--base", "b", "--repository", "h.x/n", "--report", str(tmp_path / "file" / "x")
    )

    assert isinstance(result.exception, ConfigError)
    assert "--report" in result.exception.hint


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
        (click.UsageError("x"), 2),
        (KeyError("secret"), 70),
        (NotPromoted("x"), 13),
    ],
)
def test_a_report_tells_how_the_command_ended(error: BaseException, code: int) -> None:
    """Interrupted, misused or broken: the exit status is in it, and what a bug said is not."""
    told = failed("asked", error)

    assert told["error"]["exitCode"] == code  # type: ignore[index]
    assert "secret" not in str(told)


def test_every_option_can_stand_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`format` is not called so inside, and `tag` takes several: both reach the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runbake.toml").write_text('[containerize]\nformat = "docker"\ntag = "v1"\n')
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in invoke("config").output.splitlines()}

    assert rows["containerize", "--format"] == ["runbake.toml", "docker"]
    assert rows["containerize", "--tag"] == ["runbake.toml", "['v1']"]


def test_the_file_reaches_commands_of_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top, from the group's table and from the command's own, each nearer than the one before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runbake.toml").write_text(
        'tracking-uri = "https://all.x"\n[gocd]\nport = 9\npoll = 5\n[gocd.bridge]\nport = 0\nlist = true\n'
    )
    shown = json.loads(invoke("config", "--json").output)
    rows = {(row["command"], row["setting"]): (row["origin"], row["value"]) for row in shown}

    assert rows["gocd trigger", "--tracking-uri"] == ("runbake.toml", "https://all.x")
    assert rows["gocd trigger", "--poll"] == ("runbake.toml", "5")
    assert rows["gocd pipeline", "--port"] == ("runbake.toml", "9")
    assert rows["gocd bridge", "--port"] == ("runbake.toml", "0")
    # And the command itself gets it: with --list it asks MLflow at that address, and ends.
    (tmp_path / "runbake.toml").write_text('tracking-uri = "nonsense:"\n[gocd.bridge]\nlist = true\n')
    assert "nonsense" in str(invoke("gocd", "bridge").exception)


def test_config_shows_no_password() -> None:
    """Credentials in the address of a server are left out."""
    shown = CliRunner().invoke(
        cli,
        ["config"],
        obj=Settings(environment={}, console=Console(stderr=True)),
        env={"MLFLOW_TRACKING_URI": "http://me:hunter2@h.x:5000"},
    )
    assert "@h.x:5000" in shown.output
    assert "hunter2" not in shown.output


def test_config_shows_where_values_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, environment and default are told apart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNBAKE_BASE", "h.x/base")
    (tmp_path / "runbake.toml").write_text('[containerize]\nrepository = "h.x/n"\n')
    result = invoke("config")

    rows = {tuple(line.split()[:2]): line.split()[2:] for line in result.output.splitlines()}
    assert rows["containerize", "--repository"] == ["runbake.toml", "h.x/n"]
    assert rows["containerize", "--base"] == ["environment", "h.x/base"]
    assert rows["containerize", "--format"] == ["default", "oci"]


def test_a_typo_in_the_file_stops_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is refused with the right one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runbake.toml").write_text('[containerize]\nrepositry = "h.x/n"\n')
    result = invoke("config")

    assert isinstance(result.exception, RunbakeError)
    assert "did you mean repository?" in str(result.exception)


def test_a_directory_in_the_place_of_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not read would be passed over in silence; a link to nowhere likewise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runbake.toml").mkdir()
    assert "Is a directory" in str(invoke("config").exception)
    (tmp_path / "runbake.toml").rmdir()
    (tmp_path / "runbake.toml").symlink_to("nowhere")
    assert isinstance(invoke("config").exception, ConfigError)


@pytest.mark.parametrize(
    ("ref", "shape"),
    [
        ("http://h.x:8080", "server"),
        ("HTTPS://h.x", "server"),
        (RUN, "run"),
        (f"runs:/{RUN}/model", "run"),
        ("models:/fraud@champion", "run"),
        ("models:/m-1", "run"),
        ("wine", "container"),
        ("0123456789ab", "container"),
        (RUN[:-1], "container"),
        ("ami-0123456789abcdef0", "aws"),
        ("i-0123456789abcdef0", "aws"),
        ("./scores", "file"),
        ("/srv/scores/_MANIFEST.json", "file"),
        ("image.json", "file"),
        ("s3://out/scores", "file"),
        (f"h.x/wine@sha256:{'0' * 64}", "image"),
        ("team/wine:1", "image"),
    ],
)
def test_a_reference_is_known_by_its_looks(ref: str, shape: str) -> None:
    """Every spelling of RUN is a run; a word alone is a container, and never an image of a hub."""
    assert shape_of(ref) == shape


@pytest.mark.parametrize("ref", ["", "wine:latest", f"sha256:{'0' * 64}", f"{RUN} ", "ftp://h.x/n", "a b"])
def test_what_looks_like_nothing_is_refused_before_anything_is_asked(ref: str) -> None:
    """The hint lists what can be traced."""
    result = invoke("trace", ref, environment={"DOCKER_HOST": "tcp://127.0.0.1:1"})

    assert isinstance(result.exception, InvalidReference)
    assert "HOST/NAME:TAG" in result.exception.hint


@pytest.mark.parametrize(
    ("ref", "error", "told"),
    [
        ("http://me:hunter2@127.0.0.1:1", TraceError, "nothing answers at http://127.0.0.1:1"),
        ("http://", InvalidReference, "not a URL"),
        ("wine", EngineMissing, "'wine' is taken for a container"),
        (f"runs:/{RUN}", ConfigError, "no MLflow server"),
        ("127.0.0.1:1/wine", RegistryUnreachable, "Connection refused"),
    ],
)
def test_trace_fails_as_what_it_was_asked_about(ref: str, error: type[RunbakeError], told: str) -> None:
    """A server that is gone is no engine's failure, a container's name nothing to ask a hub for."""
    result = invoke("trace", ref, environment={"DOCKER_HOST": "tcp://127.0.0.1:1"})

    assert type(result.exception) is error
    assert told in str(result.exception)
    assert "hunter2" not in str(result.exception)


def test_the_doctor_asks_a_sick_registry_once() -> None:
    """Who asks whether it answers does not want to wait until it does."""
    asked: list[str] = []

    class Sick(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            """Nothing: the test says what went wrong."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Sick) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            result = invoke("doctor", "--registry", f"127.0.0.1:{server.server_port}/wine")
        finally:
            server.shutdown()
            thread.join()
    assert result.exit_code == 1
    assert asked == ["/v2/wine/tags/list?n=1000"]


def test_errors_cannot_forge_lines_or_colours() -> None:
    """Text from outside is shown without control characters, and its markup is not obeyed."""
    shown = io.StringIO()
    report_error(Console(file=shown, width=500), RunbakeError(f"[red]bad[/] {HOSTILE}", hint="try\nthis"))

    text = shown.getvalue()
    assert text.startswith("error: [red]bad[/] line\n  break")
    assert "\x1b" not in text
    assert text.splitlines()[-1] == "try:   try this"


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        (("--insecure-registry", "h.x:5000"), {}),
        ((), {"RUNBAKE_INSECURE_REGISTRIES": "h.x:5000 other.x"}),
    ],
)
def test_plain_http_is_spoken_where_it_was_asked_for(
    given: tuple[str, ...], environment: dict[str, str]
) -> None:
    """A registry named by flag or environment is spoken to without TLS; another host is not."""

    @click.command()
    @insecure_registry_option
    def probe() -> None:
        registries = open_registries()
        for host in ("h.x:5000", "secure.x"):
            click.echo(registries(host)._transport.absolute("/v2/"))

    obj = Settings(environment={}, console=Console(stderr=True))
    result = CliRunner(env=environment).invoke(probe, given, obj=obj)
    assert result.output.split() == ["http://h.x:5000/v2/", "https://secure.x/v2/"]


def test_what_was_done_stands_between_error_and_try() -> None:
    """A late failure says what is there already; so does an interruption, which click wraps."""
    shown = io.StringIO()
    error, interrupt, abort = RunbakeError("bad", hint="again"), KeyboardInterrupt(), click.Abort()
    for each in (error, interrupt):
        each.add_note("the image is in h.x/n@sha256:0 \x1b[31m")
    abort.__cause__ = interrupt
    report_error(Console(file=shown, width=500), error)
    report_end(Console(file=shown, width=500), "interrupted", abort)

    lines = shown.getvalue().splitlines()
    done = "done:  the image is in h.x/n@sha256:0  [31m"
    assert lines[:3] == ["error: bad", done, "try:   again"]
    assert lines[3:5] == ["error: interrupted", done]
    assert lines[5].startswith("try:   run the same command again")


def test_stages_may_run_at_once_on_a_terminal() -> None:
    """Two stages share one live display, which ends with the last of them; each leaves its line."""
    shown = io.StringIO()
    story = TerminalStory(Console(file=shown, width=120, force_terminal=True))
    with story.step("model") as model:
        model.progress(1, 2)
        with story.step("lock") as lock:
            lock.say("26 wheels")
        model.say("7 files")
    with story.step("push") as push:
        push.say("3 sent")

    text = shown.getvalue()
    assert text.index("26 wheels") < text.rindex("7 files") < text.rindex("3 sent")


def test_a_stage_that_is_stopped_has_not_failed() -> None:
    """What the user interrupts, and what another failure stops, is told apart from the failure."""
    shown = io.StringIO()
    story = TerminalStory(Console(file=shown, width=500))
    for reason in (KeyboardInterrupt, Stopped, SystemExit):
        with pytest.raises(reason), story.step("model"):
            raise reason
    assert [line.split()[1] for line in shown.getvalue().splitlines()] == ["stopped"] * 3


def test_a_pipe_gets_one_plain_line_a_stage() -> None:
    """Without a terminal there is no colour and no live line; a failed stage says so."""
    shown = io.StringIO()
    story = TerminalStory(Console(file=shown, width=500))
    with story.step("one") as step:
        step.progress(1, 2)
        step.say("done [bold]so[/]")
    with pytest.raises(KeyError), story.step("two"):
        raise KeyError

    first, second = shown.getvalue().splitlines()
    assert first.split() == ["one", "done", "[bold]so[/]", "0.0", "s"]
    assert second.split() == ["two", "failed", "0.0", "s"]


@pytest.mark.parametrize("flag", ["--require-clean-commit", "--require-safe-format"])
def test_a_policy_about_the_label_file_needs_a_key(flag: str) -> None:
    """Whoever may push writes what it says; only a signature holds it to what the release saw."""
    result = invoke("verify", "h.x/n:t", flag)

    assert result.exit_code == 2
    assert flag in result.output
    assert "--key FILE" in result.output
