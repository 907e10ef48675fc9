"""Routes that need nothing between the server and the handler.

A handler that takes the `Request` and gives a `Response`, under a path without parameters, is called at once:
FastAPI's validation, dependencies and layers would do nothing for it, and take longer than the model does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]


def direct_routes(app: FastAPI) -> Mapping[tuple[str, str], Handler]:
    """By method and path, the handlers of the application that can be called directly."""
    found: dict[tuple[str, str], Handler] = {}
    for route in app.routes:
        if isinstance(route, APIRoute) and _is_plain(route):
            for method in route.methods or ():
                found.setdefault((method, route.path), route.endpoint)
    return found


def _is_plain(route: APIRoute) -> bool:
    endpoint: Any = route.endpoint
    if "{" in route.path or route.dependencies or not inspect.iscoroutinefunction(endpoint):
        return False
    try:
        signature = inspect.signature(endpoint, eval_str=True)
    except NameError:
        return False  # its annotations are for the type checker only
    takes = [parameter.annotation for parameter in signature.parameters.values()]
    gives = signature.return_annotation
    return takes == [Request] and isinstance(gives, type) and issubclass(gives, Response)
