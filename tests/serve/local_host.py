"""An HTTP server on this machine that misbehaves as it is told, and remembers what it was asked."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image

from tests.tiny import photo

SIZE = (24, 32)


def png() -> bytes:
    buffer = BytesIO()
    Image.fromarray(photo(*SIZE)).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))  # pyright: ignore
        getattr(
            self, "answer_" + self.path.split("?")[0].strip("/").split("/")[0], self.answer_image
        )()

    def answer_image(self):
        self._send(200, png())

    def answer_text(self):
        self._send(200, b"no image")

    def answer_missing(self):
        self._send(404, b"")

    def answer_redirect(self):
        self._send(302, b"", {"Location": "/image.png"})

    def answer_compressed(self):
        self._send(200, png(), {"Content-Encoding": "gzip"})

    def answer_large(self):
        self._send(200, bytes(300_000))

    def answer_endless(self):
        """Chunks without end, whose length no header tells."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            self.server.hung_up.set()  # pyright: ignore

    def answer_slow(self):
        """A byte of the headers every now and then."""
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 10_000:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            self.server.hung_up.set()  # pyright: ignore

    def answer_cut(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"abc")
        self.close_connection = True

    def answer_noise(self):
        self.wfile.write(b"220 this is another protocol\r\n\r\n")
        self.close_connection = True

    def _send(self, status, content, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


class Host(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.hung_up = threading.Event()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def running() -> Iterator[Host]:
    host = Host()
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        thread.join()
        host.server_close()
