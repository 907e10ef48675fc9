"""Which of a run's datasets is its test set, and that nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbake.errors import EvaluationError
from runbake.evaluation import LoggedData, logged_data


def dataset(source: dict[str, Any], context: str = "test", columns: tuple[str, ...] = ("a", "y")) -> Any:
    schema = {"mlflow_colspec": [{"type": "double", "name": name} for name in columns]}
    return {
        "name": "wine",
        "context": context,
        "sourceType": "local",
        "source": json.dumps(source),
        "schema": json.dumps(schema),
    }


def label_file(*datasets: Any) -> dict[str, Any]:
    return {
        "data": list(datasets),
        "model": {"signature": {"inputs": [{"name": "a", "type": "double"}], "outputs": None}},
    }


def found(*datasets: Any, allowed: tuple[str, ...] = ("/data", "s3://ours/sets")) -> LoggedData:
    return logged_data(label_file(*datasets), allowed, (), lambda path: str(Path(path).resolve()))


@pytest.mark.parametrize("context", ["test", "Testing", "evaluation", "eval"])
@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ({"uri": "/data/t.csv"}, "/data/t.csv"),
        ({"uri": "file:///data/a%20b.csv"}, "/data/a b.csv"),
        ({"uri": "s3://ours/sets/t.parquet"}, "s3://ours/sets/t.parquet"),
    ],
)
def test_the_test_set_is_found_with_its_target(context: str, source: dict[str, Any], uri: str) -> None:
    """Other contexts are passed over; the column that is no input is the truth."""
    assert found(dataset({"uri": "/data/train.csv"}, "training"), dataset(source, context)) == LoggedData(
        uri=uri, targets=("y",)
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"uri": "/etc/passwd"}, "below nothing"),
        ({"uri": "/data/../etc/passwd"}, "below nothing"),
        ({"uri": "/database/t.csv"}, "below nothing"),
        ({"uri": "/data/*.csv"}, "pattern"),
        ({"uri": "file:///data/%2A.csv"}, "pattern"),
        ({"uri": "data/t.csv"}, "relative"),
        ({"uri": "s3://ours/other/t.csv"}, "below nothing"),
        ({"uri": "s3://ours/sets2/t.csv"}, "below nothing"),
        ({"uri": "s3://ours/sets/../t.csv"}, "below nothing"),
        ({"url": "https://example.org/t.csv"}, "https://"),
        ({"uri": "mlflow-artifacts:/1/t.csv"}, "mlflow-artifacts"),
        ({"tags": {"mlflow.user": "me"}}, "names no file"),
        ({"uri": ["/data/t.csv"]}, "names no file"),
    ],
)
def test_no_other_source_is_followed(source: dict[str, Any], why: str) -> None:
    """The error names the dataset, and why it is not read."""
    with pytest.raises(EvaluationError, match="'wine'") as error:
        found(dataset(source))
    assert why in str(error.value)


def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """What counts is where the file lies, also where the allowed directory itself is a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "t.csv").touch()
    (tmp_path / "secret.csv").touch()
    (tmp_path / "sets").symlink_to("real")
    (tmp_path / "real" / "out.csv").symlink_to(tmp_path / "secret.csv")
    allowed = (str(tmp_path / "sets"),)
    assert found(dataset({"uri": f"{tmp_path}/sets/t.csv"}), allowed=allowed).uri == str(
        (tmp_path / "real" / "t.csv").resolve()
    )
    with pytest.raises(EvaluationError, match="below nothing"):
        found(dataset({"uri": f"{tmp_path}/sets/out.csv"}), allowed=allowed)


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ([], "none at all"),
        ([dataset({"uri": "/data/t.csv"}, "training")], "training"),
        ([dataset({"uri": "/data/t.csv"}), dataset({"uri": "/data/u.csv"})], "several"),
        ([dataset({"uri": "/data/t.csv"}, columns=("a",))], "is the truth"),
        ([dataset({"uri": "/data/t.csv"}, columns=("a", "y", "z"))], "y, z"),
        ([{**dataset({"uri": "/data/t.csv"}), "schema": "[" * 100_000}], "is the truth"),
        ([{**dataset({"uri": "/data/t.csv"}), "source": "no JSON"}], "names no file"),
    ],
)
def test_what_cannot_be_decided_is_asked(datasets: list[Any], said: str) -> None:
    """None, several, or a truth that nobody named."""
    with pytest.raises(EvaluationError) as error:
        found(*datasets)
    assert said in str(error.value)
