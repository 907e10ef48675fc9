"""Locks by a real uv against the real index."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from runbake.environment import LockRequest, Uv, compile_extra, compile_lock, find_uv, install
from runbake.errors import IndexUnreachable, LockError, NoWheel, Unresolvable
from tests.integration.environment.conftest import MakeWheel
from tests.integration.environment.index_server import running_index

REQUEST = LockRequest(
    model_requirements=("six",),
    runtime_requirements=(),
    python="3.11",
    platform="linux/amd64",
    uv_platform="x86_64-manylinux_2_36",
    model_as_of="2026-10-01T00:00:00Z",
    runtime_as_of="2026-11-01T00:00:00Z",
)


def asking(*requirements: str, runtime: tuple[str, ...] = ()) -> LockRequest:
    """A request for these."""
    return replace(REQUEST, model_requirements=requirements, runtime_requirements=runtime)


def test_the_model_is_locked_as_of_its_date_and_the_runtime_around_it(uv: Uv) -> None:
    """The model's pins stay, the runtime's newer packages come on top, each once, with hash and size."""
    old = replace(
        asking("scikit-learn", "numpy<2", runtime=("fastapi>=0.115", "numpy>=1.26")),
        model_as_of="2024-06-01T00:00:00Z",
    )
    lock = compile_lock(old, uv=uv)
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    assert versions["numpy"] == "1.26.4"
    assert versions["scikit-learn"] == "1.5.0"
    assert tuple(map(int, versions["fastapi"].split(".")[:2])) >= (0, 115)  # released after the model's date
    assert list(versions) == sorted(versions)
    assert len(versions) == len(lock.wheels)
    assert all(len(wheel.sha256) == 64 and wheel.size_bytes for wheel in lock.wheels)
    assert lock.to_json().count("://") == 1  # its own schema
    assert compile_lock(old, uv=uv) == lock


def test_a_model_younger_than_the_tool_keeps_its_pins(uv: Uv) -> None:
    """The runtime's date does not hide the model's own, newer releases."""
    request = replace(asking("numpy", runtime=("pandas>=2.2",)), runtime_as_of="2026-03-01T00:00:00Z")
    alone = {w.name: w.version for w in compile_lock(asking("numpy"), uv=uv).wheels}
    both = {w.name: w.version for w in compile_lock(request, uv=uv).wheels}
    assert both["numpy"] == alone["numpy"]
    assert "pandas" in both


def test_both_platforms_lock_the_same_versions(uv: Uv) -> None:
    """One request for two machines: equal versions, other files."""
    request = asking("numpy", "six")
    amd = compile_lock(request, uv=uv)
    arm = compile_lock(replace(request, platform="linux/arm64", uv_platform="aarch64-manylinux_2_36"), uv=uv)
    assert [(w.name, w.version) for w in amd.wheels] == [(w.name, w.version) for w in arm.wheels]
    assert "x86_64" in amd.wheels[0].file_name
    assert "aarch64" in arm.wheels[0].file_name
    assert amd.key != arm.key


def test_an_addition_leaves_the_lock_as_it_is(uv: Uv) -> None:
    """Only what is not locked yet comes on top; what contradicts the lock names both sides."""
    lock = compile_lock(asking("packaging==24.0"), uv=uv)
    extra = compile_extra(lock, ("pytest==8.3.0",), "2026-11-01T00:00:00Z", uv=uv)
    assert {"pytest", "pluggy", "iniconfig"} == {wheel.name for wheel in extra}
    with pytest.raises(Unresolvable, match=r"packaging==24\.0.*packaging>=25"):
        compile_extra(lock, ("packaging>=25",), "2026-11-01T00:00:00Z", uv=uv)


def test_a_package_that_does_not_exist_is_named(uv: Uv) -> None:
    """Neither on the index nor in a wheelhouse."""
    with pytest.raises(Unresolvable, match="runbake-no-such-package was not found"):
        compile_lock(asking("runbake-no-such-package"), uv=uv)


def test_a_conflict_with_the_runtime_names_both_pins(uv: Uv) -> None:
    """The model's pin and the runtime's requirement both stand in the first line."""
    with pytest.raises(Unresolvable) as caught:
        compile_lock(asking("starlette==0.20.4", runtime=("fastapi>=0.115",)), uv=uv)
    first = str(caught.value).splitlines()[0]
    assert "starlette==0.20.4" in first
    assert "fastapi>=0.115" in first


def test_what_the_model_did_not_choose_gives_way(uv: Uv) -> None:
    """pandas alone takes python-dateutil 4, botocore wants an older one: both get that, unless pinned."""
    request = asking("pandas==3.0.2", runtime=("boto3==1.42.0",))
    later = replace(request, model_as_of="2026-11-22T00:00:00Z", runtime_as_of="2026-11-22T00:00:00Z")
    versions = {wheel.name: wheel.version for wheel in compile_lock(later, uv=uv).wheels}
    assert (versions["pandas"], versions["boto3"]) == ("3.0.2", "1.42.0")
    assert versions["python-dateutil"].startswith("2.")

    pinned = replace(later, model_requirements=("pandas==3.0.2", "python-dateutil==4.0.0"))
    with pytest.raises(Unresolvable, match=r"the model pins python-dateutil==4\.0\.0"):
        compile_lock(pinned, uv=uv)


def test_a_conflict_inside_the_model_keeps_uvs_explanation(uv: Uv) -> None:
    """Both of the model's requirements are in the message."""
    with pytest.raises(Unresolvable, match=r"scikit-learn==1\.9\.1[\s\S]*scipy==1\.4") as caught:
        compile_lock(asking("scikit-learn==1.9.1", "scipy==1.4"), uv=uv)
    assert "scipy>=" in str(caught.value)


@pytest.mark.parametrize("requirement", ["docopt", "fasttext==0.9.3", "tensorflow==2.4.0"])
def test_a_package_without_a_wheel_names_the_ways_out(uv: Uv, requirement: str) -> None:
    """Only an sdist, or wheels for other Pythons: the wheelhouse and the base image are in the hint."""
    with pytest.raises(NoWheel, match=requirement) as caught:
        compile_lock(asking(requirement), uv=uv)
    assert "UV_FIND_LINKS" in caught.value.hint
    assert "--base" in caught.value.hint


def test_a_wheel_for_one_platform_only_names_itself_and_the_other(uv: Uv) -> None:
    """A package that nobody built for arm64: locked for amd64, and refused for arm64 by name and platform."""
    request = asking("fasttext-numpy2==0.10.4")
    assert compile_lock(request, uv=uv).wheels[0].file_name.endswith("x86_64.whl")
    with pytest.raises(NoWheel, match=r"fasttext-numpy2==0\.10\.4\n.*linux/arm64, Python 3\.11 failed"):
        compile_lock(replace(request, platform="linux/arm64", uv_platform="aarch64-manylinux_2_36"), uv=uv)


def test_what_another_system_needs_is_left_out_where_its_marker_says_so(uv: Uv) -> None:
    """Lines for Windows and macOS add nothing to a Linux lock; without a marker they are refused by name."""
    marked = ("six", "pywin32==306; platform_system == 'Windows'", "pyobjc==10.3; sys_platform == 'darwin'")
    assert [wheel.name for wheel in compile_lock(asking(*marked), uv=uv).wheels] == ["six"]
    with pytest.raises(NoWheel, match=r"pywin32==306\n.*linux/amd64, Python 3\.11 failed"):
        compile_lock(asking("six", "pywin32==306"), uv=uv)


def test_a_date_before_the_release_says_to_move_the_date(uv: Uv) -> None:
    """A pin younger than the run's end is the date's fault, not the package's."""
    with pytest.raises(Unresolvable) as caught:
        compile_lock(replace(asking("numpy==2.4.6"), model_as_of="2026-01-01T00:00:00Z"), uv=uv)
    assert "--lock-date" in caught.value.hint


def test_a_wheelhouse_is_a_way_out_and_its_bytes_are_locked(
    wheelhouse: Path, make_wheel: MakeWheel, tmp_path: Path
) -> None:
    """A wheel of our own joins the dated lock; when its bytes change, nothing is installed."""
    sha256 = make_wheel("runbake_test_ours", {"ours.py": b"1"})
    uv = find_uv({**os.environ, "UV_FIND_LINKS": str(wheelhouse)})
    lock = compile_lock(asking("runbake-test-ours", "six"), uv=uv)
    assert {w.name: w.sha256 for w in lock.wheels}["runbake-test-ours"] == sha256
    assert lock.model_as_of == REQUEST.model_as_of
    assert str(wheelhouse) not in lock.to_json()
    install(lock.wheels, lock=lock, directory=tmp_path / "good", uv=uv)
    make_wheel("runbake_test_ours", {"ours.py": b"2"})
    # uv's cache still holds the locked bytes, and may use them.
    uv = find_uv({**dict(uv.environment), "UV_CACHE_DIR": str(tmp_path / "cache")})
    with pytest.raises(LockError, match=r"runbake-test-ours==1\.0 are not the ones that were locked"):
        install(lock.wheels, lock=lock, directory=tmp_path / "bad", uv=uv)


def test_an_index_without_upload_times_is_locked_undated(
    wheelhouse: Path, make_wheel: MakeWheel, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock says that it has no date, the log says why, and no URL is in either."""
    make_wheel("runbake_test_ours", {"ours.py": b"1"})
    with running_index(wheelhouse) as index, caplog.at_level(logging.WARNING):
        uv = find_uv({**os.environ, "UV_DEFAULT_INDEX": f"http://someone:hunter2@{index}"})
        lock = compile_lock(asking("runbake-test-ours"), uv=uv)
    assert lock.model_as_of == ""
    assert [wheel.name for wheel in lock.wheels] == ["runbake-test-ours"]
    assert "without a date" in caplog.text
    for text in (lock.to_json(), caplog.text):
        assert "hunter2" not in text
        assert "127.0.0.1" not in text


@pytest.mark.parametrize("status", [401, 403, 503])
def test_an_index_that_refuses_is_unreachable(wheelhouse: Path, status: int) -> None:
    """401, 403 and 5xx: the status is in the message, the address and the password are not."""
    with running_index(wheelhouse, status) as index:
        environment = {
            **os.environ,
            "UV_DEFAULT_INDEX": f"http://someone:hunter2@{index}",
            "UV_HTTP_RETRIES": "0",
        }
        with pytest.raises(IndexUnreachable, match=str(status)) as caught:
            compile_lock(asking("six"), uv=find_uv(environment))
    _assert_nothing_shown(caught.value)


def test_an_index_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    """Nobody listens: credentials show up nowhere, not even in the chain of causes."""
    environment = {
        **os.environ,
        "UV_DEFAULT_INDEX": "http://someone:hunter2@127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
        "UV_CACHE_DIR": str(tmp_path),
    }
    with pytest.raises(IndexUnreachable, match="Connection refused") as caught:
        compile_lock(asking("six"), uv=find_uv(environment))
    _assert_nothing_shown(caught.value)


def test_broken_settings_of_uv_are_uvs_own_error(tmp_path: Path) -> None:
    """A uv.toml that cannot be read is named as uv names it."""
    (tmp_path / "uv.toml").write_text("garbage = 1\n")
    uv = find_uv({**os.environ, "UV_CONFIG_FILE": str(tmp_path / "uv.toml")})
    with pytest.raises(LockError, match="garbage"):
        compile_lock(asking("six"), uv=uv)


def test_neither_directory_nor_variables_change_what_is_locked(
    wheelhouse: Path, make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these settings would make uv fail here; the user's own uv.toml is read."""
    make_wheel("runbake_test_ours", {"ours.py": b"1"})
    pins = tmp_path / "pins.txt"
    pins.write_text("runbake-test-ours==9\n")
    (tmp_path / "uv.toml").write_text('resolution = "nonsense"\n')
    monkeypatch.chdir(tmp_path)
    environment = {
        **os.environ,
        **dict.fromkeys(("UV_RESOLUTION", "UV_PRERELEASE", "UV_FORK_STRATEGY"), "nonsense"),
        **dict.fromkeys(("UV_CONSTRAINT", "UV_OVERRIDE"), str(pins)),
        "UV_FIND_LINKS": str(wheelhouse),
    }
    lock = compile_lock(asking("runbake-test-ours"), uv=find_uv(environment))
    assert [(wheel.name, wheel.version) for wheel in lock.wheels] == [("runbake-test-ours", "1.0")]
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv.toml").rename(tmp_path / "uv" / "uv.toml")
    with pytest.raises(LockError, match="nonsense"):
        compile_lock(asking("six"), uv=find_uv({**environment, "XDG_CONFIG_HOME": str(tmp_path)}))


def _assert_nothing_shown(error: BaseException | None) -> None:
    while error is not None:
        for text in (str(error), repr(error), str(getattr(error, "hint", ""))):
            assert "hunter2" not in text
            assert "someone" not in text
            assert "127.0.0.1" not in text
        error = error.__cause__ or error.__context__
