"""A web server of one file, that behaves as badly as a test wants."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = bytes((7 * number + number // 251) % 256 for number in range(300_000))


class Handler(BaseHTTPRequestHandler):
    """Serves `data`; the other class attributes say how badly."""

    data = DATA
    etag = '"one"'
    cuts: list  # bytes sent before each broken connection
    statuses: list  # answers before the good one
    ranges: list  # what was asked for
    knows_ranges = True
    lies_about_range = False
    tells_length = True

    def do_GET(self):  # noqa: N802
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        if self.statuses:
            self.send_error(self.statuses.pop(0))
            return
        start = self._start(asked)
        if start >= len(self.data):
            self.send_response(416)
            self.end_headers()
            return
        body = self.data[start:]
        self.send_response(206 if start else 200)
        if self.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if start:
            shown = start + 1 if self.lies_about_range else start
            last = len(self.data) - 1
            self.send_header("Content-Range", f"bytes {shown}-{last}/{last + 1}")
        self.send_header("ETag", self.etag)
        self.end_headers()
        cut = self.cuts.pop(0) if self.cuts else len(body)
        self.wfile.write(body[:cut])

    def _start(self, asked):
        guard = self.headers.get("If-Range")
        if asked is None or not self.knows_ranges or (guard and guard != self.etag):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def log_message(self, format, *args):  # noqa: A002
        pass


@contextmanager
def serving(name):
    """Yield a handler of its own and the address of the file that it serves."""
    handler = type("Own", (Handler,), {"cuts": [], "statuses": [], "ranges": []})
    opened = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield handler, f"http://127.0.0.1:{opened.server_port}/{name}"
    finally:
        opened.shutdown()
        opened.server_close()
        thread.join()
