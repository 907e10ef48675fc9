"""A batch through a model: what it takes is answered in order; each row that it does not take is told why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runbake_serving.batch.answers import columns_of
from runbake_serving.batch.batches import TableBatch, Wanted
from runbake_serving.batch.failures import BatchFailure, TooManyRejects
from runbake_serving.batch.judging import Judge
from runbake_serving.batch.spec import Csv
from runbake_serving.batch.writing import writer_of
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Column, Columns, Scalar, Signature

INPUTS = Columns(columns=tuple(Column(name=name, type=Scalar.DOUBLE, required=True) for name in "ab"))


def sums(data: Any, params: Mapping[str, Any]) -> Any:
    """Refuses what is missing, as scikit-learn does, and fails at 13."""
    del params
    values = data.to_numpy() if isinstance(data, pd.DataFrame) else data
    if np.isnan(values).any():
        raise ValueError("a value is missing")
    if (values == 13).any():
        raise RuntimeError("a bug")
    return values.sum(axis=1)


def model(array_dtype: str | None, predict: Any = sums) -> Model:
    """A model that adds two columns."""
    rules = Rules(rows_may_be_joined=True, array_dtype=array_dtype, refusals=(ValueError,))
    return Model(
        signature=Signature(inputs=INPUTS), loaded=Loaded(predict=predict, rules=rules), mlflow_version="3"
    )


def batch(table: pa.Table, asked: Model) -> TableBatch:
    """These rows, of which `id` is kept."""
    wanted = Wanted(model=asked, params={}, renamed={}, select=(), keep=("id",), csv=Csv())
    return TableBatch(wanted=wanted, table=table, first_row=100)


def table(a: list[float | None]) -> pa.Table:
    """Rows with ids."""
    return pa.table({"a": pa.array(a, pa.float64()), "b": [1.0] * len(a), "id": list(range(len(a)))})


@pytest.mark.parametrize("array_dtype", ["float64", None])
def test_each_refused_row_is_told_and_all_others_are_answered(array_dtype: str | None) -> None:
    """By the array path and by DataFrames alike, in the order of the rows."""
    asked = model(array_dtype)
    rows: list[float | None] = [float(at) if at % 7 else None for at in range(12)]
    judge = Judge(model=asked, prediction="p")

    judged = judge.judged(batch(table(rows), asked), first_row=50, most_rejects=2)

    assert (judged.rows_in, judged.rows_out) == (12, 10)
    taken = [at for at in range(12) if at % 7]
    assert list(judged.columns["p"]) == [at + 1.0 for at in taken]
    assert judged.columns["id"].to_pylist() == taken
    assert [(one.row, one.file_row, one.field) for one in judged.rejects] == [(50, 100, "a"), (57, 107, "a")]
    with pytest.raises(TooManyRejects, match="row 107: a: the model refuses"):
        judge.judged(batch(table(rows), asked), first_row=0, most_rejects=1)


def test_a_failure_of_the_model_is_no_rows_fault() -> None:
    """What is no refusal ends the job, and names the exception without its text."""
    asked = model("float64")
    with pytest.raises(BatchFailure, match=r"^the model failed: RuntimeError$"):
        Judge(model=asked, prediction="p").judged(
            batch(table([1.0, 13.0]), asked), first_row=0, most_rejects=None
        )


def test_an_answer_that_is_not_row_by_row_ends_the_job() -> None:
    """One number for all rows is no batch prediction."""
    asked = model("float64", predict=lambda data, params: np.array([len(data)]))
    with pytest.raises(BatchFailure, match="does not answer row by row"):
        Judge(model=asked, prediction="p").judged(
            batch(table([1.0, 2.0]), asked), first_row=0, most_rejects=0
        )


def test_a_kept_column_may_not_be_called_like_a_prediction() -> None:
    """The message names it."""
    asked = model("float64")
    with pytest.raises(BatchFailure, match="'id' is kept from the input and predicted too"):
        Judge(model=asked, prediction="id").judged(batch(table([1.0]), asked), first_row=0, most_rejects=0)


def outputs(*kinds: Scalar) -> Columns:
    """A signature's outputs, named x, y, …"""
    return Columns(
        columns=tuple(
            Column(name=name, type=kind, required=True) for name, kind in zip("xyz", kinds, strict=False)
        )
    )


def test_columns_are_named_and_typed_by_the_signature() -> None:
    """Names where their number fits; a number is widened where that loses nothing, and never narrowed."""
    answer = np.array([[1, 2], [3, 4]], dtype="int32")
    named = columns_of(answer, 2, outputs(Scalar.LONG, Scalar.DOUBLE), "p")
    assert {name: values.dtype.name for name, values in named.items()} == {"x": "int64", "y": "float64"}
    assert list(columns_of(answer, 2, None, "p")) == ["p_0", "p_1"]
    assert columns_of(np.array([0.1]), 1, outputs(Scalar.FLOAT), "p")["x"].dtype == np.float64
    assert list(columns_of(pd.Series([1, 2], name="s"), 2, None, "p")) == ["s"]
    assert columns_of(["a", "b"], 2, None, "p") == {"p": ["a", "b"]}


VALUES = {
    "n": np.array([1.5, np.nan]),
    "whole": np.array([1, 2]),
    "text": ['a,"b"\nc', ""],
    "gap": [None, "x"],
    "wide": np.array([[1.0, 2.0], [3.0, 4.0]]),
}


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Parquet, csv and JSON Lines hold the values; the same rows give the same bytes."""
    for kind in ("parquet", "csv", "jsonl"):
        for name in ("one", "two"):
            with writer_of(kind, tmp_path / f"{name}.{kind}") as writer:
                writer.write(VALUES)
                writer.write(VALUES)
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()

    written = pq.read_table(tmp_path / "one.parquet").to_pylist()
    lines = pd.read_json(tmp_path / "one.jsonl", lines=True).to_dict("records")
    frame = pd.read_csv(tmp_path / "one.csv")
    assert [row["text"] for row in written] == VALUES["text"] * 2
    assert [row["wide"] for row in lines] == [[1.0, 2.0], [3.0, 4.0]] * 2
    assert frame["n"].tolist()[0] == 1.5
    assert frame["text"].tolist()[0] == 'a,"b"\nc'
    assert frame["wide"].tolist()[1] == "[3.0,4.0]"
    assert frame["gap"].isna().tolist() == [True, False] * 2


def test_a_column_that_changes_its_type_ends_the_job(tmp_path: Path) -> None:
    """Parquet has one type for each column; the message names a way out."""
    with writer_of("parquet", tmp_path / "x.parquet") as writer:
        writer.write({"p": np.array([1, 2])})
        with pytest.raises(BatchFailure, match="do not fit one table") as caught:
            writer.write({"p": ["a", "b"]})
    assert "jsonl" in caught.value.hint
