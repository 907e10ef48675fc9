"""Settings come from the variables handed over, and a misspelt one is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving import contract
from runbake_serving.errors import StartError
from runbake_serving.processes.cpu import cpus_allowed
from runbake_serving.settings import Settings, settings_of, workers_of


def test_nothing_set_is_the_defaults() -> None:
    """Variables of others are not looked at, and empty ones count as not given."""
    assert settings_of({"PATH": "/bin", "RUNBAKE_PORT": "", "runbake_port": "1"}) == Settings()


def test_what_sagemaker_sets_changes_nothing() -> None:
    """With the variables of SageMaker and its toolkits the port is 8080, as its contract says."""
    theirs = {"SAGEMAKER_BIND_TO_PORT": "9000", "SAGEMAKER_BATCH": "true", "SAGEMAKER_MULTI_MODEL": "false"}
    settings = settings_of(theirs)
    assert settings == Settings()
    assert (settings.port, settings.host) == (8080, "0.0.0.0")  # noqa: S104 -- the default is looked at
    assert settings.grace_s < 30


def test_every_setting_is_read() -> None:
    """Each variable of the contract reaches its field."""
    values = {
        contract.ENV_MODEL_ROOT: "/m",
        contract.ENV_PROVENANCE: "/p",
        contract.ENV_HOST: "::1",
        contract.ENV_PORT: "81",
        contract.ENV_UDS: "/s",
        contract.ENV_PROBE: "/r",
        contract.ENV_REUSE_PORT: "on",
        contract.ENV_WORKERS: "3",
        contract.ENV_THREADS: "2",
        contract.ENV_GRACE_S: "0",
        contract.ENV_BODY_LIMIT: "10",
        contract.ENV_BODY_TIMEOUT_S: "4",
        contract.ENV_CONNECTIONS: "5",
        contract.ENV_DEADLINE_S: "6",
        contract.ENV_JOIN_BYTES: "7",
        contract.ENV_JOIN_ROWS: "8",
        contract.ENV_IMAGE_DIGEST: f"sha256:{'0' * 64}",
        contract.ENV_TRUSTED_TYPES: "a.B, c.d.E",
        contract.ENV_TRACKING_URL: "https://mlflow.example.org",
        contract.ENV_KEEP_ALIVE_S: "9",
        contract.ENV_QUEUE: "11",
        contract.ENV_QUEUE_BYTES: "12",
        contract.ENV_DATAFRAME_PATH: "ALWAYS",
        contract.ENV_PAGE: "off",
    }
    assert set(values) == set(contract.SETTINGS)
    assert settings_of(values) == Settings(
        trusted_types=("a.B", "c.d.E"),
        tracking_url="https://mlflow.example.org",
        image_digest=f"sha256:{'0' * 64}",
        model_root=Path("/m"),
        provenance_file=Path("/p"),
        host="::1",
        port=81,
        uds=Path("/s"),
        probe=Path("/r"),
        reuse_port=True,
        workers=3,
        threads=2,
        grace_s=0,
        body_limit_bytes=10,
        body_timeout_s=4,
        connections=5,
        deadline_s=6,
        join_bytes=7,
        join_rows=8,
        keep_alive_s=9,
        queue=11,
        queue_bytes=12,
        always_dataframe=True,
        page=False,
    )


def test_every_fault_is_named_at_once() -> None:
    """An unknown name gets the nearest known one, and values out of range are named with it."""
    with pytest.raises(StartError) as caught:
        settings_of({"RUNBAKE_WORKER": "1", "RUNBAKE_PORT": "70000", "RUNBAKE_PAGE": "maybe"})
    message = str(caught.value)
    assert "RUNBAKE_WORKER (did you mean RUNBAKE_WORKERS?)" in message
    assert "RUNBAKE_PORT" in message
    assert "RUNBAKE_PAGE" in message


def test_a_kubernetes_service_is_recognised() -> None:
    """RUNBAKE_PORT=tcp://… comes from a Service called runbake, and the error says so."""
    with pytest.raises(StartError, match="enableServiceLinks"):
        settings_of({"RUNBAKE_PORT": "tcp://10.0.0.1:80"})


def variables_of(service: str, port: str) -> dict[str, str]:
    """What Kubernetes sets in every container for one Service with two ports."""
    return {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": port,
        f"{service}_SERVICE_PORT_HTTP": port,
        f"{service}_PORT": f"tcp://10.0.0.1:{port}",
        f"{service}_PORT_{port}_TCP": f"tcp://10.0.0.1:{port}",
        f"{service}_PORT_{port}_TCP_PROTO": "tcp",
        f"{service}_PORT_{port}_TCP_PORT": port,
        f"{service}_PORT_{port}_TCP_ADDR": "10.0.0.1",
        f"{service}_PORT_53_UDP": "udp://10.0.0.1:53",
        f"{service}_PORT_53_UDP_PROTO": "udp",
    }


@pytest.mark.parametrize("service", ["RUNBAKE_WINE", "RUNBAKE_WINE_V2", "RUNBAKE_SERVICE", "RUNBAKE_PORT"])
def test_variables_of_a_kubernetes_service(service: str) -> None:
    """Those of a Service called runbake-something are not settings, and do not hide a misspelt one."""
    others = variables_of(service, "80")
    assert settings_of({**others, "RUNBAKE_WORKERS": "2"}) == Settings(workers=2)
    for wrong in ("RUNBAKE_WORKER", "RUNBAKE_ADMIN_PORT", "RUNBAKE_SERVICE_PORT_"):
        with pytest.raises(StartError, match=wrong):
            settings_of({**others, wrong: "80"})


def test_variables_of_a_service_called_runbake() -> None:
    """All but RUNBAKE_PORT, which is a setting too, are passed over; that one is told as what it is."""
    others = variables_of("RUNBAKE", "80")
    with pytest.raises(StartError, match="enableServiceLinks") as caught:
        settings_of(others)
    assert "unknown" not in str(caught.value)
    assert settings_of({**others, "RUNBAKE_PORT": "81"}) == Settings(port=81)


@given(st.sampled_from(contract.SETTINGS), st.text())
def test_any_text_is_settings_or_an_error(name: str, value: str) -> None:
    """No value of any variable raises anything but StartError."""
    try:
        settings = settings_of({name: value})
    except StartError:
        return
    assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    ("set_to", "most", "cpus", "expected"),
    [(None, None, 0.5, 1), (None, None, 2.9, 2), (None, None, 64, 4), (None, 1, 64, 1), (9, None, 2, 9)],
)
def test_workers(set_to: int | None, most: int | None, cpus: float, expected: int) -> None:
    """As set, else one for each whole CPU up to four, and never more than the flavor allows."""
    assert workers_of(Settings(workers=set_to), most=most, cpus=cpus) == expected


def test_cpu_quota_of_either_cgroup_version(tmp_path: Path) -> None:
    """A quota below the affinity counts; `max`, -1 and no file at all are no quota."""
    none = tmp_path / "none"
    unlimited = cpus_allowed(tmp_path, none)
    assert unlimited >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpus_allowed(tmp_path, none) == unlimited
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cpus_allowed(tmp_path, none) == 0.5
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpus_allowed(tmp_path, none) == unlimited
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("25000\n")
    assert cpus_allowed(tmp_path, none) == 0.25


@pytest.mark.parametrize(
    ("own", "folder", "quota"),
    [
        ("0::/a/b\n", "a", {"cpu.max": "30000 100000"}),
        ("0::/a/b\n", "a/b", {"cpu.max": "30000 100000"}),
        ("3:cpu,cpuacct:/a\n2:memory:/m\n", "cpu/a", {"cpu.cfs_quota_us": "30", "cpu.cfs_period_us": "100"}),
    ],
)
def test_cpu_quota_of_our_own_cgroup(tmp_path: Path, own: str, folder: str, quota: dict[str, str]) -> None:
    """Without a cgroup namespace the quota of our cgroup, or of one above it, is found by its path."""
    (tmp_path / "own").write_text(own)
    (tmp_path / folder).mkdir(parents=True)
    for name, text in quota.items():
        (tmp_path / folder / name).write_text(text)
    assert cpus_allowed(tmp_path, tmp_path / "own") == 0.3
