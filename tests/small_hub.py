"""A hub on the loopback that answers the real client: one model, pickled on main, converted in a pull request."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Hub:
    """Serves one repository.

    Args:
        repository: its id.
        refs: by reference, a commit and the folder with its files.
    """

    def __init__(self, repository: str, refs: dict[str, tuple[str, Path]]) -> None:
        self.repository, self.refs = repository, refs
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                outer.answer(self)

            def do_GET(self) -> None:
                self.wfile.write(outer.answer(self))

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> bytes:
        self.requests.append(f"{request.command} {request.path}")
        found = self.page(urlsplit(request.path).path)
        body, commit = found or (b"{}", "")
        request.send_response(200 if found else 404)
        request.send_header("Content-Length", str(len(body)))
        if commit:
            request.send_header("X-Repo-Commit", commit)
            request.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        if not found:
            request.send_header("X-Error-Code", "RepoNotFound")
        request.end_headers()
        return body

    def page(self, path: str) -> tuple[bytes, str] | None:
        """What lies at a path, and for files their commit."""
        if path == "/":
            return b"", ""
        api = f"/api/models/{self.repository}/"
        if path == f"{api}discussions":
            return json.dumps({"count": 1, "start": 0, "discussions": [self.conversion()]}).encode(), ""
        if path.startswith(f"{api}tree/"):
            _, folder = self.commit(path.removeprefix(f"{api}tree/"))
            files = [
                {"type": "file", "path": each.name, "size": each.stat().st_size, "oid": "0"}
                for each in folder.iterdir()
            ]
            return json.dumps(files).encode(), ""
        if path.startswith(f"{api}revision/"):
            commit, folder = self.commit(path.removeprefix(f"{api}revision/"))
            siblings = [{"rfilename": each.name} for each in sorted(folder.iterdir())]
            return json.dumps({"id": self.repository, "sha": commit, "siblings": siblings}).encode(), ""
        files = f"/{self.repository}/resolve/"
        if path.startswith(files):
            revision, name = path.removeprefix(files).rsplit("/", 1)
            commit, folder = self.commit(revision)
            return ((folder / name).read_bytes(), commit) if (folder / name).is_file() else None
        return None

    def commit(self, revision: str) -> tuple[str, Path]:
        """A commit and its folder by reference or hash."""
        known = {**self.refs, **{commit: (commit, folder) for commit, folder in self.refs.values()}}
        return known[unquote(revision)]

    def conversion(self) -> dict[str, object]:
        return {
            "title": "Adding `safetensors` variant of this model",
            "num": 7,
            "author": {"name": "SFconvertbot"},
            "createdAt": "2023-01-01T00:00:00.000Z",
            "status": "open",
            "repo": {"name": self.repository, "type": "model"},
            "isPullRequest": True,
        }

    def stop(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()
