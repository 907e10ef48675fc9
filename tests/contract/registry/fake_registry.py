"""A small registry in this process that can be made to misbehave, one request at a time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<what>blobs/uploads|blobs|manifests|referrers|tags)/(?P<rest>[^?]*)")

Act = Callable[["Handler"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived; `path` is with its query."""

    method: str
    path: str
    authorization: str
    body: bytes


@dataclass(slots=True)
class Rule:
    """For the next `times` requests that fit, `act` answers."""

    method: str
    pattern: re.Pattern[str]
    act: Act
    times: int


@dataclass(slots=True, kw_only=True)
class Tokens:
    """Bearer tokens for one scope each, refused after `uses` requests; `basic` or `refresh` buys one.

    `realm` is the token service's address, "" for this server.
    """

    basic: tuple[str, str] | None = None
    refresh: str = ""
    uses: int = 1_000_000
    expires_in_s: int = 300
    realm: str = ""
    issued: dict[str, tuple[frozenset[str], int]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class World:
    """What the registry holds, how it behaves, and what it saw."""

    basic: tuple[str, str] | None = None
    tokens: Tokens | None = None
    referrers_api: bool = False
    page_size: int = 1000
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    sessions: int = 0

    def on(self, method: str, pattern: str, act: Act, *, times: int = 1) -> None:
        """Let `act` answer the next requests whose path matches."""
        self.rules.append(Rule(method, re.compile(pattern), act, times))

    def count(self, method: str, pattern: str = "") -> int:
        """How many such requests arrived."""
        return sum(s.method == method and re.search(pattern, s.path) is not None for s in self.seen)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; `world` is set on the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def world(self) -> World:
        world: World = self.server.world  # type: ignore[attr-defined]
        return world

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        self.unread = int(self.headers.get("Content-Length") or 0)
        rule = self._rule()
        if rule is not None:
            self._record(b"")
            rule.act(self)
            return
        body = self.take(self.unread)
        self._record(body)
        if urlsplit(self.path).path == "/token":
            self._token(body)
        elif self._may():
            with self.world.lock:
                self._route(body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def take(self, size: int) -> bytes:
        """Read so many bytes of the request's body."""
        self.unread -= size
        return self.rfile.read(size)

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer; the connection closes when the request was not read."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        if self.unread:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        """An error as the specification spells it."""
        errors = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
        self.answer(status, json.dumps(errors).encode(), {"Content-Type": "application/json"})

    def _rule(self) -> Rule | None:
        with self.world.lock:
            for rule in self.world.rules:
                if rule.times and rule.method == self.command and rule.pattern.search(self.path):
                    rule.times -= 1
                    return rule
        return None

    def _record(self, body: bytes) -> None:
        kept = body if len(body) < 1 << 16 else b""
        seen = Seen(
            method=self.command,
            path=self.path,
            authorization=self.headers.get("Authorization", ""),
            body=kept,
        )
        with self.world.lock:
            self.world.seen.append(seen)

    # --- authentication ----------------------------------------------------------------------------------

    def _may(self) -> bool:
        world, sent = self.world, self.headers.get("Authorization", "")
        if world.basic is not None and sent != _basic(world.basic):
            self.answer(401, headers={"WWW-Authenticate": 'Basic realm="lab"'})
            return False
        if world.tokens is not None and not self._token_holds(world.tokens, sent.removeprefix("Bearer ")):
            self.challenge()
            return False
        return True

    def challenge(self) -> None:
        """Send the client to the token service."""
        tokens = self.world.tokens
        assert tokens is not None
        realm = tokens.realm or f"http://{self.address}/token"
        asks = f'Bearer realm="{realm}",service="lab",scope="{self._needed()}"'
        self.answer(401, headers={"WWW-Authenticate": asks})

    def _needed(self) -> str:
        match = PATH.match(self.path)
        assert match is not None, self.path
        action = {"GET": "pull", "HEAD": "pull"}.get(self.command, "push")
        return f"repository:{match['name']}:{action}"

    def _token_holds(self, tokens: Tokens, token: str) -> bool:
        with self.world.lock:
            scopes, left = tokens.issued.get(token, (frozenset(), 0))
            if left < 1 or self._needed() not in scopes:
                return False
            tokens.issued[token] = (scopes, left - 1)
            return True

    def _token(self, body: bytes) -> None:
        tokens, form = self.world.tokens, parse_qs(body.decode())
        assert tokens is not None
        query = parse_qs(urlsplit(self.path).query)
        if tokens.refresh and self.command == "GET":
            fits = self.headers.get("Authorization") == _basic(("", tokens.refresh))
            asked = query.get("scope", [])
        elif tokens.refresh:
            fits = form.get("refresh_token") == [tokens.refresh] and form["grant_type"] == ["refresh_token"]
            asked = form.get("scope", [""])[0].split()
        else:
            fits = tokens.basic is None or self.headers.get("Authorization") == _basic(tokens.basic)
            asked = query.get("scope", [])
        if not fits:
            self.refuse(401, "UNAUTHORIZED")
            return
        with self.world.lock:
            token = f"token-{len(tokens.issued)}"
            tokens.issued[token] = (_single(asked), tokens.uses)
        word = "access_token" if tokens.refresh else "token"
        document = {word: token, "expires_in": tokens.expires_in_s}
        self.answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    # --- the protocol ------------------------------------------------------------------------------------

    def _route(self, body: bytes) -> None:
        match = PATH.match(self.path)
        query = parse_qs(urlsplit(self.path).query)
        if match is None:
            self.answer(200 if self.path == "/v2/" else 404)
            return
        name, rest = match["name"], match["rest"]
        match self.command, match["what"]:
            case "POST", "blobs/uploads":
                self._begin(name, query)
            case "PUT", "blobs/uploads":
                self._finish(name, query["digest"][0], body)
            case (("GET" | "HEAD"), "blobs"):
                self._blob(name, rest)
            case "PUT", "manifests":
                self._put_manifest(name, rest, body)
            case (("GET" | "HEAD"), "manifests"):
                self._manifest(name, rest)
            case "GET", "tags":
                self._tags(name, query)
            case "GET", "referrers" if self.world.referrers_api:
                self._referrers(name, rest)
            case _:
                self.answer(404, b"404 page not found\n", {"Content-Type": "text/plain"})

    def _begin(self, name: str, query: dict[str, list[str]]) -> None:
        world = self.world
        if "mount" in query:
            digest = query["mount"][0]
            data = world.blobs.get((query["from"][0], digest))
            if data is not None:
                world.blobs[name, digest] = data
                self.answer(201, headers={"Docker-Content-Digest": digest})
                return
        world.sessions += 1
        # Relative, and with a query of its own, as registries do.
        self.answer(202, headers={"Location": f"/v2/{name}/blobs/uploads/{world.sessions}?_state=x%3D"})

    def _finish(self, name: str, digest: str, body: bytes) -> None:
        if _digest(body) != digest:
            self.refuse(400, "DIGEST_INVALID")
            return
        self.world.blobs[name, digest] = body
        self.answer(201, headers={"Docker-Content-Digest": digest})

    def _blob(self, name: str, digest: str) -> None:
        data = self.world.blobs.get((name, digest))
        if data is None:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        self.answer(200, data, {"Docker-Content-Digest": digest})

    def _put_manifest(self, name: str, reference: str, body: bytes) -> None:
        digest = _digest(body)
        if reference.startswith("sha256:") and reference != digest:
            self.refuse(400, "DIGEST_INVALID")
            return
        self.world.manifests[name, digest] = (self.headers["Content-Type"], body)
        if not reference.startswith("sha256:"):
            self.world.tags[name, reference] = digest
        self.answer(201, headers={"Docker-Content-Digest": digest})

    def _manifest(self, name: str, reference: str) -> None:
        digest = self.world.tags.get((name, reference), reference)
        found = self.world.manifests.get((name, digest))
        if found is None:
            self.refuse(404, "MANIFEST_UNKNOWN")
            return
        self.answer(200, found[1], {"Content-Type": found[0], "Docker-Content-Digest": digest})

    def _tags(self, name: str, query: dict[str, list[str]]) -> None:
        tags = sorted(tag for repository, tag in self.world.tags if repository == name)
        if not tags:
            self.refuse(404, "NAME_UNKNOWN")
            return
        after = query.get("last", [""])[0]
        page = [tag for tag in tags if tag > after][: self.world.page_size]
        headers = {"Content-Type": "application/json"}
        if page and page[-1] != tags[-1]:
            headers["Link"] = f'</v2/{name}/tags/list?n=1000&last={page[-1]}>; rel="next"'
        self.answer(200, json.dumps({"name": name, "tags": page}).encode(), headers)

    def _referrers(self, name: str, digest: str) -> None:
        entries = []
        for (repository, own), (media_type, body) in self.world.manifests.items():
            document = json.loads(body)
            if repository == name and document.get("subject", {}).get("digest") == digest:
                entry: dict[str, Any] = {"mediaType": media_type, "digest": own, "size": len(body)}
                entry["artifactType"] = document.get("artifactType") or document["config"]["mediaType"]
                entry["annotations"] = document.get("annotations", {})
                entries.append(entry)
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        self.answer(200, json.dumps(document).encode(), {"Content-Type": OCI_INDEX})


def answers(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> Act:
    """Refuse without reading the request's body."""
    return lambda handler: handler.answer(status, text.encode(), headers)


def drops(after_bytes: int = 0) -> Act:
    """Read so much of the request, then reset the connection."""

    def act(handler: Handler) -> None:
        handler.take(min(after_bytes, handler.unread))
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.connection.close()

    return act


def stores_then_drops(handler: Handler) -> None:
    """Take a whole blob, then hang up instead of answering."""
    body = handler.take(handler.unread)
    match = PATH.match(handler.path)
    assert match is not None
    handler.world.blobs[match["name"], _digest(body)] = body
    drops()(handler)


def truncated(data: bytes, keep: int) -> Act:
    """Promise all of the data and send only its beginning."""

    def act(handler: Handler) -> None:
        handler.answer(200, data[:keep], {"Content-Length": str(len(data))})
        handler.close_connection = True

    return act


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _basic(pair: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(pair).encode()).decode()


def _single(scopes: list[str]) -> frozenset[str]:
    """Scopes with one action each: the order of actions means nothing."""
    found = set()
    for scope in scopes:
        prefix, _, actions = scope.rpartition(":")
        found.update(f"{prefix}:{action}" for action in actions.split(","))
    return frozenset(found)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client that hangs up early is part of the game.
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections are broken on purpose."""


@contextmanager
def running_fake(world: World, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """`127.0.0.1:PORT` of a registry that behaves as `world` says."""
    server = _Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.world = world  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
