"""Only handlers for which FastAPI does nothing are called without it."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request, Response

from runbake_serving.http.direct import direct_routes


def test_plain_handlers_only() -> None:
    """A Request in and a Response out, under a fixed path: direct. Anything else goes through FastAPI."""
    app = FastAPI(openapi_url=None)

    @app.post("/plain")
    async def plain(request: Request) -> Response:
        return Response()

    @app.post("/items/{item}")
    async def with_path(request: Request) -> Response:
        return Response()

    @app.get("/query")
    async def with_query(request: Request, q: int = 0) -> Response:
        return Response()

    @app.get("/data")
    async def with_data(request: Request) -> dict[str, int]:
        return {}

    @app.get("/guarded", dependencies=[Depends(plain)])
    async def guarded(request: Request) -> Response:
        return Response()

    @app.get("/thread")
    def in_a_thread(request: Request) -> Response:
        return Response()

    assert dict(direct_routes(app)) == {("POST", "/plain"): plain}
