"""The login to ECR, against moto: the call is well-formed; that AWS agrees is not shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from lab.registry_server import free_port
from runbake.aws import ecr_password
from runbake.errors import RegistryAuthError
from runbake.registry import CredentialSource

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    """The address of moto's server."""
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An AWS environment that leads to moto and to nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "s3cret-key",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("aws")
def test_password_of_ecr(tmp_path: Path) -> None:
    """Without an entry in Docker's configuration, an ECR host gets AWS's user and a password."""
    found = CredentialSource(tmp_path / "config.json").credentials_for(HOST)
    assert found is not None
    assert (found.username, found.identity_token) == ("AWS", False)
    # What moto gives as the token's second half.
    assert found.password.reveal() == ecr_password(HOST, "eu-central-1") == "123456789012-auth-token"


@pytest.mark.usefixtures("aws")
def test_docker_configuration_comes_first(tmp_path: Path) -> None:
    """An entry in Docker's configuration is preferred to AWS's login."""
    (tmp_path / "config.json").write_text(f'{{"auths": {{"{HOST}": {{"auth": "dTpw"}}}}}}')
    found = CredentialSource(tmp_path / "config.json").credentials_for(HOST)
    assert found is not None
    assert found.username == "u"


def test_no_aws_credentials(aws: pytest.MonkeyPatch) -> None:
    """Without AWS credentials, the error names the host and what is needed."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws.delenv(name)
    with pytest.raises(RegistryAuthError, match=f"AWS gave no login for {HOST}") as caught:
        ecr_password(HOST, "eu-central-1")
    assert "ecr:GetAuthorizationToken" in caught.value.hint
    assert "s3cret-key" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
