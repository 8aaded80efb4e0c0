"""A server on this machine that answers nothing and writes down what it is asked for.

It is a process of its own: GDAL holds the interpreter while it waits for an answer.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[1] + "/log", "a").write(self.path + "\\n")
        self.send_response(404)
        self.end_headers()
    do_HEAD = do_GET
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
open(sys.argv[1] + "/port", "w").write(f"{server.server_address[1]}.")
server.serve_forever()
"""


class Listener:
    def __init__(self, folder: Path, port: str):
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "log"

    def asked(self) -> list[str]:
        """The paths that were asked for so far."""
        return self.log.read_text().split() if self.log.exists() else []


@contextmanager
def listening(folder: Path) -> Iterator[Listener]:
    folder.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)])
    try:
        port, end = folder / "port", time.monotonic() + 30
        while not (port.exists() and port.read_text().endswith(".")):
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.02)
        yield Listener(folder, port.read_text().rstrip("."))
    finally:
        process.kill()
        process.wait()
