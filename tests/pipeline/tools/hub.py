"""A server on loopback that takes uploads as the Hugging Face hub does: preupload, Git LFS batch, and commits of a dataset."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What the server holds.

    Args:
        objects: large files by sha256, which are not part of the repository until a commit names them.
        commits: the files of each commit by name, oldest first.
        broken: large files are refused from now on.
    """

    token: str
    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, bytes]] = field(default_factory=list)
    uploads: int = 0
    broken_after: int | None = None
    created: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.answer(401, {"error": "Invalid credentials"})
        elif self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            self.hub.created.append(name)
            self.answer(200, {"url": f"{self.hub.url}/datasets/somebody/{name}", "id": f"somebody/{name}"})
        elif self.path == "/api/validate-yaml":  # of the dataset card
            self.answer(200, {"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".tar", ".parquet")) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self.answer(
                200, {"transfer": "basic", "objects": [self.batch(item) for item in json.loads(body)["objects"]]}
            )
        elif self.path.endswith("/commit/main"):
            self.hub.commits.append(self.commit(body))
            name = self.path.removeprefix("/api/").removesuffix("/commit/main")
            self.answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": "1" * 40})
        else:
            self.answer(404, {})

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.broken_after is not None and self.hub.uploads >= self.hub.broken_after:
            self.answer(403, {"error": "the storage is full"})
            return
        self.hub.uploads += 1
        self.hub.objects[hashlib.sha256(data).hexdigest()] = data
        self.answer(200, {})

    def do_GET(self) -> None:
        if "/tree/main" in self.path:
            files = self.hub.commits[-1] if self.hub.commits else {}
            entries = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            self.answer(200, entries)
        else:
            self.answer(404, {})

    def batch(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.hub.objects:
            return {**item, "authenticated": True}
        return {**item, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}}

    def commit(self, body: bytes) -> dict[str, bytes]:
        files = dict(self.hub.commits[-1]) if self.hub.commits else {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        return files

    def answer(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve(token: str) -> Iterator[Hub]:
    """The server, while the block runs."""
    hub = Hub(token)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
