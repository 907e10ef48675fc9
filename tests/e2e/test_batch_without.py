"""`runbake batch run` with an image that has neither Arrow nor boto3."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_wine

from tests.e2e.world import World

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (("--input", "s3://rows/a.csv", "--output-format", "csv"), "--with s3"),
        (("--input", "wines.parquet", "--output-format", "csv"), "--with arrow"),
        (("--input", "wines.csv"), "--with arrow"),
    ],
)
def test_an_image_without_the_library_says_so(
    world: World, wine_image: str, options: tuple[str, ...], needs: str
) -> None:
    """Of S3, Parquet input and Parquet output, before anything is written: which flag builds one with it."""
    frame = load_wine(as_frame=True).data
    frame.to_csv(world.directory / "wines.csv", index=False)
    frame.to_parquet(world.directory / "wines.parquet")
    output = world.directory / f"without-{needs[-5:]}-{len(options)}"

    said = world.run("batch", "run", wine_image, *options, "--output", str(output), env=CREDENTIALS)

    assert said.status == 74, said.err
    assert f"runbake containerize {needs}" in said.err
    assert "Traceback" not in said.err
    assert list(output.iterdir()) == []
