"""A server on this machine that speaks the endpoints of the Hugging Face Hub, and fails in the ways that it can.

It lists, describes and serves repositories held in memory. What the Hub's own client makes of it is tested beside the
sources, so that it stays honest.
"""

import hashlib
import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

LARGE = (".safetensors", ".onnx", ".onnx_data", ".bin", ".pt2", ".gguf", ".h5")


@dataclass(frozen=True, kw_only=True)
class Repo:
    """One repository: its files, and what its authors say of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    """Keys of the Hub's description; these win over what follows from the files."""
    token: str = ""
    """Private: without this token it is not there."""
    gated_to: str = ""
    """Its description is public, its files need this token."""
    versions: str = "0"

    @property
    def sha(self) -> str:
        """The commit: changes with the files."""
        digest = hashlib.sha1(self.versions.encode())
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with requests whose path matches `where`."""

    where: str
    kind: str
    """'status' or 'body': that answer. 'slow' or 'drop': none, after a while or at once. 'cut': an answer that breaks
    off. 'length' or 'longer': one that has other bytes than it should. 'redirect': to `target`, or to itself."""
    times: int = 10**9
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    amount: float = 0.0
    """Seconds of silence, or the bytes before the cut, missing, or too many."""
    target: str = ""
    done: int = 0


class FakeHub:
    """A Hub that listens on this machine until the `with` block ends."""

    def __init__(self, repos: dict[str, Repo] | None = None, *, page: int = 1000) -> None:
        self.repos = dict(repos or {})
        self.page = page
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.server = _Server(("127.0.0.1", 0), _Request)
        self.server.hub = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "FakeHub":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.thread.join()
        self.server.hang_up()
        self.server.server_close()

    def fail(self, where: str, kind: str, **options: Any) -> None:
        """Let requests whose path and query match the expression `where` fail."""
        self.faults.append(Fault(where=where, kind=kind, **options))

    def asked(self, pattern: str = "") -> list[str]:
        """Return the paths that were asked for and match."""
        return [path for _, path, _ in self.requests if re.search(pattern, path)]

    def due(self, path: str) -> Fault | None:
        """Return the fault of one request, and count it."""
        with self.lock:
            for fault in self.faults:
                if fault.done < fault.times and re.search(fault.where, path):
                    fault.done += 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    """Knows its connections, so that those that a client keeps open do not hold up the end."""

    daemon_threads = False
    hub: FakeHub

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close the connections that are still open."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep standard error quiet when a client goes away."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep standard error quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with self.hub.lock:
            self.hub.requests.append((self.command, self.path, dict(self.headers)))
        self.fault = self.hub.due(self.path)
        if self.fault is not None and self.fault.kind not in ("cut", "length", "longer"):
            self._fail(self.fault)
            return
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        if path == "/api/models":
            self._list(query)
        elif match := re.fullmatch(r"/api/models/(.+?)/tree/([^/]+)", path):
            self._tree(*match.groups(), query)
        elif match := re.fullmatch(r"/api/models/(.+?)/revision/(.+)", path):
            self._describe(*match.groups(), query)
        elif match := re.fullmatch(r"/api/models/(.+)", path):
            self._describe(match.group(1), "main", query)
        elif match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups())
        else:
            self._error(404, "", "no such page")

    # --- faults ------------------------------------------------------------------------------------------------

    def _fail(self, fault: Fault) -> None:
        if fault.kind in ("slow", "drop"):
            self.hub.stopping.wait(fault.amount)
            self.close_connection = True
        elif fault.kind == "redirect":
            self._send(302, b"", {"Location": fault.target or self.path})
        else:
            self._send(fault.status if fault.kind == "status" else 200, fault.body, fault.headers)

    # --- endpoints ---------------------------------------------------------------------------------------------

    def _list(self, query: dict[str, list[str]]) -> None:
        wanted = {key: values[0] for key, values in query.items()}
        found = []
        for name, repo in self.hub.repos.items():
            info = _info(name, repo)
            tags = [*(info.get("tags") or []), info.get("library_name")] if isinstance(info.get("tags"), list) else []
            if repo.token and not self._may(repo.token):
                continue
            if wanted.get("author") not in (None, name.split("/")[0]):
                continue
            if wanted.get("search", "").lower() not in name.lower():
                continue
            if wanted.get("pipeline_tag") not in (None, info.get("pipeline_tag")):
                continue
            if all(tag in tags for tag in query.get("filter", [])):
                expanded = query.get("expand", list(info))
                found.append({key: value for key, value in info.items() if key in ("id", *expanded)})
        if sort := wanted.get("sort"):
            found.sort(key=lambda info: info.get(sort) or 0, reverse=True)
        start, size = int(wanted.get("cursor", 0)), min(int(wanted.get("limit", 1000)), self.hub.page)
        headers = {}
        if start + size < len(found):
            following = urlencode({**query, "cursor": [str(start + size)]}, doseq=True)
            headers["Link"] = f'<{self.hub.url}/api/models?{following}>; rel="next"'
        self._json(found[start : start + size], headers)

    def _describe(self, name: str, revision: str, query: dict[str, list[str]]) -> None:
        repo = self._repo(name, revision)
        if repo is not None:
            self._json(_info(name, repo, sizes="blobs" in query))

    def _tree(self, name: str, revision: str, query: dict[str, list[str]]) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        items = [_tree_item(path, content) for path, content in sorted(repo.files.items())]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.hub.page < len(items):
            following = urlencode({**query, "cursor": [str(start + self.hub.page)]}, doseq=True)
            headers["Link"] = f'<{self.hub.url}{urlsplit(self.path).path}?{following}>; rel="next"'
        self._json(items[start : start + self.hub.page], headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        if path not in repo.files:
            self._error(404, "EntryNotFound", "no such file", {"X-Repo-Commit": repo.sha})
            return
        if repo.gated_to and not self._may(repo.gated_to) and path != "README.md":
            self._error(403 if self.headers.get("Authorization") else 401, "GatedRepo", "gated")
            return
        content = repo.files[path]
        headers = {"X-Repo-Commit": repo.sha, "ETag": f'"{_digest(path, content)}"', "Accept-Ranges": "bytes"}
        if path.endswith(LARGE):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{_digest(path, content)}"'}
        begins = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if begins is None:
            self._send(200, content, headers)
        elif int(begins.group(1)) >= len(content):
            self._send(416, b"", headers)
        else:
            start = int(begins.group(1))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], headers)

    # --- answers -----------------------------------------------------------------------------------------------

    def _repo(self, name: str, revision: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.token and not self._may(repo.token)):
            self._error(404 if self.headers.get("Authorization") else 401, "RepoNotFound", "Repository not found")
            return None
        if revision not in ("main", repo.sha):
            self._error(404, "RevisionNotFound", "Invalid rev id")
            return None
        return repo

    def _may(self, token: str) -> bool:
        return self.headers.get("Authorization") == f"Bearer {token}"

    def _json(self, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._send(status, json.dumps({"error": message}).encode(), {**named, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        fault = self.fault
        length = len(body)
        if fault is not None and fault.kind == "length":  # fewer bytes than there are, and honest about it
            body = body[: len(body) - int(fault.amount)]
            length = len(body)
        if fault is not None and fault.kind == "longer":
            body += b"x" * int(fault.amount)
            length = len(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault is not None and fault.kind == "cut":
            body = body[: int(fault.amount)]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)


def _digest(path: str, content: bytes) -> str:
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree_item(path: str, content: bytes) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _digest("", content)}
    if path.endswith(LARGE):
        item["lfs"] = {"oid": _digest(path, content), "size": len(content), "pointerSize": 134}
    return item


def _info(name: str, repo: Repo, *, sizes: bool = False) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(repo.files)]
    if sizes:
        siblings = [{"rfilename": path, "size": len(content)} for path, content in sorted(repo.files.items())]
    return {
        "_id": hashlib.sha1(name.encode()).hexdigest()[:24],
        "id": name,
        "modelId": name,
        "sha": repo.sha,
        "private": bool(repo.token),
        "gated": "auto" if repo.gated_to else False,
        "disabled": False,
        "lastModified": "2024-05-17T10:00:00.000Z",
        "createdAt": "2024-01-02T03:04:05.000Z",
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        **repo.info,
    }
