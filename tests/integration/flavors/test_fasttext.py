"""fastText by the real library: what is logged, what MLflow makes of it, and what we answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbake.errors import NoModel
from runbake.flavors.fasttext import load_model, save_model
from runbake_serving.errors import SchemaMismatch, StartError
from runbake_serving.flavors import fasttext_model
from runbake_serving.flavors.fasttext_model import DamagedModel, file_of, texts_of
from runbake_serving.model.model import Model, Question
from runbake_serving.model.model import load_model as load_served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints while it is imported
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    from runbake_serving.app import create_app
    from runbake_serving.settings import Settings

TEXTS = [
    "goal match",
    "vote\nlaw",
    "",
    "__label__sport vote",
    "unknown words",
    "music\rstage\u2028film",
    "\0 goal 😀",
]
Saved = Callable[..., Path]


@pytest.fixture
def saved(fasttext_files: Path, tmp_path: Path) -> Saved:
    """A function that saves a file as an MLflow model; its directory."""

    def save(name: str, **options: Any) -> Path:
        path = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        save_model(fasttext_files / name, path, **options)
        return path

    return save


def both(path: Path) -> tuple[Any, Model]:
    """The model through MLflow's pyfunc, and through the runtime."""
    return mlflow.pyfunc.load_model(str(path)), load_served(path)


def answer_of(model: Model, data: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
    """What the runtime makes the model answer."""
    return model.answer(model.checked(Question(data=data, params=params)))


def rows(answer: pd.DataFrame) -> list[dict[str, Any]]:
    return answer.to_dict("records")


@pytest.mark.parametrize("name", ["classifier.bin", "classifier.ftz", "hashes.bin"])
def test_labels_are_mlflows_to_the_last_bit(saved: Saved, name: str) -> None:
    """For every text, number of labels and threshold; alone and joined."""
    theirs, ours = both(saved(name, input_example=TEXTS[:2], label_prefix=None))
    frame = pd.DataFrame({"text": TEXTS})

    for params in ({}, {"k": 2}, {"k": -1}, {"k": 3, "threshold": 0.4}, {"threshold": 1.1}):
        expected = rows(theirs.predict(frame, params=params))
        alone = [rows(answer_of(ours, frame.iloc[[at]], params))[0] for at in range(len(TEXTS))]

        assert rows(answer_of(ours, frame, params)) == alone == expected
        assert all(len(row["labels"]) <= (params.get("k", 1) % 4) for row in expected)


def test_a_request_for_more_labels_than_there_are_takes_no_room(saved: Saved) -> None:
    """Two thousand million labels, or more than a C integer holds, are all of them."""
    ours = load_served(saved("classifier.bin"))
    frame = pd.DataFrame({"text": TEXTS[:1]})

    for k in (2_000_000_000, 1 << 40):
        assert rows(answer_of(ours, frame, {"k": k})) == rows(answer_of(ours, frame, {"k": -1}))


def test_labels_are_the_librarys_without_their_prefix(fasttext_files: Path, saved: Saved) -> None:
    """A prefix that the library forgot in its file is the one that was given; an empty one leaves labels."""
    for name, options, wanted in (
        ("classifier.bin", {}, "sport"),
        ("classifier.bin", {"label_prefix": ""}, "__label__sport"),
        ("hashes.bin", {"label_prefix": "#"}, "sport"),
    ):
        path = saved(name, **options)
        answer = answer_of(load_served(path), pd.DataFrame({"text": ["goal team"]}))
        label, probability = load_model(str(path)).f.predict("goal team\n", 1, 0.0, "strict")[0][::-1]

        assert rows(answer) == [{"labels": [wanted], "probabilities": [probability]}]
        assert label.endswith("sport")


def test_vectors_are_mlflows(saved: Saved) -> None:
    """An array of 32-bit floats, a row for each text; also of a classifier, when asked for."""
    for path in (saved("vectors.bin"), saved("classifier.bin", pyfunc_predict_fn="get_sentence_vector")):
        theirs, ours = both(path)
        frame = pd.DataFrame({"text": TEXTS})
        answer = answer_of(ours, frame)

        assert answer.dtype == np.float32
        assert answer.shape == (len(TEXTS), 16)
        np.testing.assert_array_equal(answer, theirs.predict(frame))
        np.testing.assert_array_equal(answer[3], answer_of(ours, frame.iloc[[3]])[0])


def test_the_loader_needs_neither_toolkit_nor_runtime(saved: Saved, tmp_path: Path) -> None:
    """MLflow loads the model in a Python that can import neither."""
    path = saved("classifier.bin")
    script = (
        "import sys, mlflow.pyfunc\n"
        "sys.modules['runbake'] = sys.modules['runbake_serving'] = None\n"
        f"model = mlflow.pyfunc.load_model({str(path)!r})\n"
        "print(model.predict([{'text': 'goal match'}]).labels.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[['sport']]"


def test_the_model_says_what_it_is(saved: Saved) -> None:
    """MLmodel's section, signature and requirements are there without being asked for."""
    path = saved("classifier.ftz", input_example="goal match")
    document = yaml.safe_load((path / "MLmodel").read_text())
    flavor, signature = document["flavors"]["fasttext"], document["signature"]

    assert (flavor["model_file"], flavor["model_kind"], flavor["quantized"], flavor["labels"]) == (
        "model.ftz",
        "supervised",
        True,
        3,
    )
    assert [(one["name"], one["type"]) for one in json.loads(signature["inputs"])] == [("text", "string")]
    assert [one["name"] for one in json.loads(signature["outputs"])] == ["labels", "probabilities"]
    assert [(one["name"], one["default"]) for one in json.loads(signature["params"])] == [
        ("k", 1),
        ("threshold", 0.0),
    ]
    names = [line.split("==")[0] for line in (path / "requirements.txt").read_text().split()]
    assert names == ["mlflow", "numpy", "pandas", "fasttext-community"]
    # The example is answered by MLflow as it is stored.
    example = json.loads((path / "serving_input_example.json").read_text())
    assert example == {"dataframe_split": {"columns": ["text"], "data": [["goal match"]]}}


def test_both_servers_answer_alike(saved: Saved) -> None:
    """/invocations answers what MLflow's server answers; a bad question is the caller's fault."""
    path = saved("classifier.bin", input_example=["goal match"])
    theirs = TestClient(
        scoring_server.init(mlflow.pyfunc.load_model(str(path))), raise_server_exceptions=False
    )
    with TestClient(create_app(Settings(), load_served(path), None)) as ours:
        for body in (
            {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}},
            {"dataframe_records": [{"text": "law"}], "params": {"k": 3, "threshold": 0.01}},
            {"inputs": ["goal", "law"]},
        ):
            answer, expected = (client.post("/invocations", json=body) for client in (ours, theirs))
            assert (answer.status_code, answer.json()) == (200, expected.json())
        for bad in (
            {"dataframe_records": [{"text": 3}]},
            {"dataframe_records": [{"text": None}]},
            {"dataframe_records": [{"words": "a"}]},
            {"dataframe_records": [{"text": "a"}], "params": {"k": 0}},
        ):
            assert 400 <= ours.post("/invocations", json=bad).status_code < 500


@pytest.mark.parametrize("name", ["classifier.bin", "classifier.ftz", "vectors.bin"])
def test_a_file_that_was_cut_off_is_refused(fasttext_files: Path, tmp_path: Path, name: str) -> None:
    """The library would load it and answer nonsense; we say where it ends."""
    data, path = (fasttext_files / name).read_bytes(), tmp_path / name

    for size in (0, 8, 60, 90, 400, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DamagedModel, match=name):
            file_of(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(DamagedModel, match="1 bytes after its end"):
        file_of(path)


def test_a_damaged_file_never_breaks_the_reader(fasttext_files: Path, tmp_path: Path) -> None:
    """Whichever bytes are changed, the answer is a description or a refusal."""
    data = (fasttext_files / "classifier.ftz").read_bytes()
    path = tmp_path / "spoilt.ftz"

    @given(at=st.integers(0, len(data) - 9), junk=st.binary(min_size=1, max_size=8))
    def spoil(at: int, junk: bytes) -> None:
        path.write_bytes(data[:at] + junk + data[at + len(junk) :])
        with suppress(DamagedModel):
            assert file_of(path).kind in ("cbow", "skipgram", "supervised")

    spoil()


def test_a_quantized_file_without_dimensions_is_refused(fasttext_files: Path, tmp_path: Path) -> None:
    """The quantizer's own dimension, which follows the codes, is checked."""
    data = (fasttext_files / "classifier.ftz").read_bytes()
    head = data.index((16).to_bytes(4, "little"), 3000)  # the input matrix' quantizer begins with 16
    path = tmp_path / "flat.ftz"
    path.write_bytes(data[:head] + bytes(4) + data[head + 4 :])

    with pytest.raises(DamagedModel, match="quantized without dimensions"):
        file_of(path)


def test_the_runtime_says_what_is_wrong_with_a_model(saved: Saved) -> None:
    """A damaged file, another place, and a classifier's answer asked of an embedding are start errors."""
    path = saved("vectors.bin")
    mlmodel = (path / "MLmodel").read_text()
    for was, now, said in (
        ("predict_fn: get_sentence_vector", "predict_fn: predict", "no labels to predict"),
        ("predict_fn: get_sentence_vector", "predict_fn: guess", "'guess'"),
        ("model_file: model.bin", "model_file: ../secret", "outside the model"),
        ("model_file: model.bin", "model_file: gone.bin", "cannot be read"),
    ):
        (path / "MLmodel").write_text(mlmodel.replace(was, now))
        with pytest.raises(StartError, match=said):
            load_served(path)
    (path / "MLmodel").write_text(mlmodel)
    (path / "model.bin").write_bytes((path / "model.bin").read_bytes()[:-1])
    with pytest.raises(StartError, match=r"model\.bin is damaged"):
        load_served(path)


def test_what_cannot_be_logged_is_refused(fasttext_files: Path, tmp_path: Path) -> None:
    """No file, no model, another file's format, and labels of an embedding."""
    shutil.copyfile(__file__, tmp_path / "text.bin")
    for model, options, said in (
        (tmp_path / "gone.bin", {}, "cannot read"),
        (tmp_path / "text.bin", {}, "no fastText model"),
        (object(), {}, "a object is no fastText model"),
        (fasttext_files / "vectors.bin", {"pyfunc_predict_fn": "predict"}, "no labels"),
        (fasttext_files / "vectors.bin", {"pyfunc_predict_fn": "guess"}, "'guess'"),
    ):
        with pytest.raises(NoModel, match=said):
            save_model(model, tmp_path / f"out-{said[:5]}", **options)


def test_texts_come_in_every_shape() -> None:
    """A text, a list, a Series, arrays and a DataFrame of one column; a line feed becomes a blank."""
    for data in (
        ["a\nb", "c"],
        pd.Series(["a\nb", "c"]),
        np.array(["a\nb", "c"]),
        np.array([["a\nb"], ["c"]], dtype=object),
        pd.DataFrame({"x": ["a\nb", "c"]}),
    ):
        assert texts_of(data) == ["a b", "c"]
    assert texts_of("a\r\n\u2028") == ["a\r \u2028"]
    with pytest.raises(ValueError, match="one column"):
        texts_of(pd.DataFrame({"x": ["a"], "y": ["b"]}))
    with pytest.raises(ValueError, match="one column"):
        texts_of(np.array([["a", "b"]]))
    with pytest.raises(TypeError, match="row 1"):
        texts_of(["a", None])


def test_a_number_is_no_text(saved: Saved) -> None:
    """A column of numbers is refused as the signature says, before the model sees it."""
    with pytest.raises(SchemaMismatch):
        answer_of(load_served(saved("classifier.bin")), pd.DataFrame({"text": [1.5]}))


def test_the_copy_in_a_model_is_ours(saved: Saved) -> None:
    """The loader that a model carries is the runtime's module, byte for byte."""
    copy = saved("classifier.bin") / "code" / "runbake_fasttext.py"

    assert copy.read_bytes() == Path(fasttext_model.__file__).read_bytes()
