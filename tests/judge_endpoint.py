"""A real HTTP server on this machine that speaks the chat-completions protocol, records what it is sent, and can misbehave."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

CRITERIA = ("fusion", "alignment", "originality", "aesthetics")


@dataclass
class Response:
    """What to answer: ``content`` wrapped as a completion, or a bare ``body``; after ``hang`` seconds."""

    content: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hang: float = 0.0
    finish: str = "stop"

    def data(self) -> bytes:
        if self.body is not None:
            return self.body
        choice = {"index": 0, "message": {"role": "assistant", "content": self.content}, "finish_reason": self.finish}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


@dataclass
class Request:
    """What was sent."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def pictures(self) -> list[bytes]:
        """The encoded pictures of the first user message."""
        parts = next(m for m in self.body["messages"] if m["role"] == "user")["content"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        assert all(url.startswith("data:image/png;base64,") for url in urls)
        return [base64.b64decode(url.partition(",")[2]) for url in urls]

    @property
    def text(self) -> str:
        """Everything in it that is not a picture."""
        said = self.body
        for message in said["messages"]:
            if isinstance(message["content"], list):
                message["content"] = [part for part in message["content"] if part["type"] == "text"]
        return json.dumps(said) + json.dumps(self.headers)


def level(data: bytes) -> float:
    """How bright a picture is, 0 to 10."""
    with Image.open(io.BytesIO(data)) as picture:
        return float(np.asarray(picture).mean()) / 25.5


def marks(value: float) -> str:
    """Four equal marks."""
    return json.dumps(dict.fromkeys(CRITERIA, round(value, 2)))


def choices(value: str) -> str:
    """The same choice for everything."""
    return json.dumps(dict.fromkeys((*CRITERIA, "overall"), value))


def by_brightness(number: int, request: Request) -> Response:
    """A judge that likes light: marks for one picture, the brighter of two."""
    light = [level(data) for data in request.pictures]
    if len(light) == 1:
        return Response(marks(light[0]))
    return Response(choices("tie" if light[0] == light[1] else "first" if light[0] > light[1] else "second"))


class Endpoint:
    """The server; ``script(number, request)`` says what to answer to request ``number``, which counts from 1."""

    def __init__(self, script: Callable[[int, Request], Response] = by_brightness) -> None:
        self.script, self.requests = script, []
        lock, owner = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, dict(self.headers), raw)
                with lock:
                    owner.requests.append(request)
                    number = len(owner.requests)
                answer = owner.script(number, request)
                time.sleep(answer.hang)
                data = answer.data()
                try:
                    self.send_response(answer.status)
                    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # the client has given up

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def picture(value: int, size: int = 24, seed: int = 0) -> Image.Image:
    """A picture of about that brightness (0 to 255) with some grain, which tells equal ones apart by ``seed``."""
    grain = np.random.default_rng(seed).integers(-5, 6, (size, size, 3))
    return Image.fromarray(np.clip(value + grain, 0, 255).astype(np.uint8))
