"""The one policy of retries: how long it waits, how often, and what it takes for final."""

import contextlib
import gzip
import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import MaxRetryError

from gairlib.data import http


def waits_of(patience, answers, monkeypatch) -> list[float]:
    """Seconds waited after each of the answers (status, Retry-After or None)."""
    waits = []
    monkeypatch.setattr(http.Patience, "wait", waits.append)
    for status, after in answers:
        answer = HTTPResponse(status=status, headers={"Retry-After": after} if after else {})
        patience = patience.increment("GET", response=answer)
        patience.sleep(answer)
    return waits


def test_waits_double_unless_the_server_says_how_long(monkeypatch):
    answers = [(503, None), (503, None), (429, "7"), (500, None)]
    assert waits_of(http.Patience.of(4, 0.5), answers, monkeypatch) == [0.5, 1.0, 7.0, 4.0]


def test_no_server_sends_us_to_sleep_for_hours(monkeypatch):
    assert waits_of(http.Patience.of(1), [(429, "86400")], monkeypatch) == [http.LONGEST_WAIT]


def test_after_the_last_try_there_is_no_other():
    with pytest.raises(MaxRetryError):
        http.Patience.of(0).increment("GET", response=HTTPResponse(status=503))


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 408, 425, 429, 500, 503, 599])
def test_only_what_may_be_better_next_time_is_tried_again(status):
    assert http.Patience.of(1).is_retry("POST", status) == (
        status in (408, 425, 429) or status > 499
    )


@pytest.mark.parametrize(
    "address, within",
    [
        ("http://127.0.0.1/a", True),
        ("http://2130706433/a", True),  # the same, as one number
        ("http://[::1]:80/", True),
        ("http://[::ffff:10.0.0.1]/", True),
        ("/vsicurl/http://169.254.169.254/latest/meta-data", True),
        ("https://192.168.1.5/x.tif", True),
        ("http://0.0.0.0/", True),
        ("https://8.8.8.8/x.tif", False),
        ("scenes/a.tif", False),
    ],
)
def test_addresses_of_private_networks(address, within):
    assert http.private(address) == within


@pytest.fixture
def odd():
    """A server of one answer: what the test puts into `parts`, each after a pause."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(OSError):
                for part in state.parts():
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(state.pause)
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = SimpleNamespace(parts=list, pause=0.0)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


OK = b"HTTP/1.1 200 OK\r\n"
ZIPPED = gzip.compress(b" " * (80 << 20))
ENDLESS = {
    "json": lambda: itertools.chain([OK + b"\r\n"], itertools.repeat(b" " * (1 << 20))),
    "error": lambda: itertools.chain(
        [b"HTTP/1.1 400 X\r\n\r\n"], itertools.repeat(b" " * (1 << 20))
    ),
    "gzip": lambda: [
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED
    ],
}
SLOW = {
    "body": lambda: itertools.chain([OK + b"\r\n"], itertools.repeat(b" ")),
    "headers": lambda: itertools.chain([OK], itertools.repeat(b"X: y\r\n")),
    "one header": lambda: itertools.chain([OK + b"X: "], itertools.repeat(b"y")),
}


def getter(url: str, **options) -> http.Getter:
    return http.Getter(requests.Session(), url, **({"tries": 1, "timeout": 5.0} | options))


@pytest.mark.parametrize("kind", ENDLESS)
def test_no_answer_is_longer_than_its_limit(odd, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(http, "LARGEST", 4 << 20)
    odd.parts = ENDLESS[kind]
    with pytest.raises(http.Failed, match="HTTP 400" if kind == "error" else "more than 64 MiB"):
        getter(odd.url).json(odd.url, {}, {})
    with pytest.raises(http.Failed, match="HTTP 400" if kind == "error" else "more than 4 MiB"):
        getter(odd.url).file(odd.url, tmp_path / "a")
    assert not (tmp_path / "a").exists() or (tmp_path / "a").stat().st_size < 9 << 20


@pytest.mark.parametrize("kind", SLOW)
def test_no_answer_takes_longer_than_its_time(odd, tmp_path, kind):
    odd.parts, odd.pause = SLOW[kind], 0.02
    begun = time.monotonic()
    with pytest.raises(http.Failed):
        getter(odd.url, timeout=0.05).json(odd.url, {}, {})
    with pytest.raises(http.Failed):
        getter(odd.url, timeout=0.05).file(odd.url, tmp_path / "a")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"data": ' + b"[" * 200_000, b'{"a": "\xff"}'])
def test_what_is_no_json_is_one_sentence(odd, body):
    odd.parts = lambda: [OK + b"Content-Length: %d\r\n\r\n" % len(body) + body]
    with pytest.raises(http.Failed, match="not JSON"):
        getter(odd.url).json(odd.url, {}, {})


@pytest.mark.parametrize("after", ["\xb2", "9" * 5000, "soon", "Fri, 31 Dec 0000 23:59:59 GMT"])
def test_an_odd_retry_after_is_passed_over(monkeypatch, after):
    assert waits_of(http.Patience.of(1, 0.5), [(429, after)], monkeypatch) == [0.5]


@pytest.mark.parametrize("url", ["http://a" + "b" * 70 + ".x/", "http://[::1", "http://\u2025/"])
def test_an_odd_address_is_one_sentence(tmp_path, url):
    with pytest.raises(http.Failed):
        getter(url).file(url, tmp_path / "a")


def test_a_server_of_the_world_leads_into_no_private_network(odd, tmp_path):
    odd.parts = lambda: [OK + b"Content-Length: 2\r\n\r\n{}"]
    assert getter(odd.url).json(odd.url, {}, {}) == {}  # it was named itself
    with pytest.raises(http.Failed, match="private network"):
        getter("https://8.8.8.8/").file(odd.url, tmp_path / "a")
