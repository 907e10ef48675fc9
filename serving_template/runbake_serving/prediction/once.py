"""`predict`: one body of /invocations answered without a server."""

from __future__ import annotations

import asyncio

from runbake_serving.errors import RequestError
from runbake_serving.log import start_logging
from runbake_serving.model.model import load_model
from runbake_serving.prediction.predictor import Predictor
from runbake_serving.protocols.encoding import answer_of, error_of
from runbake_serving.protocols.media_type import media_type_of
from runbake_serving.protocols.mlflow_scoring import question_of
from runbake_serving.settings import Settings

_ID = "predict"


def answer_once(settings: Settings, body: bytes, content_type: str) -> tuple[int, bytes]:
    """The exit status and the server's answer: 0 and predictions, or 1 and an error.

    Raises:
        StartError: the model cannot be used.
    """
    start_logging()
    model = load_model(
        settings.model_root,
        always_dataframe=settings.always_dataframe,
        trusted_types=settings.trusted_types,
    )
    predictor = Predictor(model, threads=1)
    try:
        question = question_of(body, media_type_of(content_type), model)
        return 0, answer_of(asyncio.run(predictor.predict(question, _ID)))
    except RequestError as error:
        return 1, error_of(error, _ID)
    finally:
        predictor.close()
