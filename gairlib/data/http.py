"""HTTP requests with one policy of retries, for catalogues and photo services alike.

`Patience` is urllib3's Retry: rate limits, server errors, timeouts and refused connections are
tried again; waits double, and where the server says how long (Retry-After, RFC 9110 section
10.2.3) that is obeyed, up to LONGEST_WAIT. STAC clients take it as it is; `Getter` asks it about
transfers that break off as well. No message holds an address, since an address may hold a token.

Whatever the server does, an answer ends: `Bounded` gives each its bytes and its time, headers
included, counts bytes as they are unpacked, and refuses the addresses of private networks, in
redirects too, where the server that the user named is not in one itself.
"""

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from gairlib.data.boundary import parsed
from gairlib.errors import extra

with extra("stac"):
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import HTTPError, MaxRetryError

LONGEST_WAIT = 600.0  # seconds; a server that asks for more is waited for no longer than this
LARGEST = 200 << 20  # bytes of one answer
LARGEST_JSON = 64 << 20
DEADLINE = 10  # times the timeout (of one read): what a whole answer may take
PRIVATE = "the address is one of a private network, and the server that was asked is not"
AGAIN = frozenset((408, 425, 429, *range(500, 600)))  # HTTP answers that may be better next time


class Patience(Retry):
    """Up to `total` further tries, after backoff_factor, 2 x, 4 x ... seconds or Retry-After."""

    wait = staticmethod(time.sleep)

    @classmethod
    def of(cls, retries: int, pause: float = 1.0) -> "Patience":
        """retries: after the first try; pause: seconds before the first of them."""
        return cls(
            total=retries, backoff_factor=pause, status_forcelist=AGAIN, allowed_methods=None
        )

    def get_backoff_time(self) -> float:
        return self.backoff_factor * 2.0 ** (len(self.history) - 1)

    def sleep(self, response=None) -> None:
        try:
            asked = None if response is None else self.get_retry_after(response)
        except (HTTPError, ValueError, OverflowError):  # neither seconds nor a date
            asked = None
        self.wait(min(asked or self.get_backoff_time(), LONGEST_WAIT))


class Failed(Exception):
    """A request that came to nothing: str() says why; `again`: a later run may have more luck."""

    def __init__(self, reason: str, again: bool, status: int = 0, answer: dict | None = None):
        super().__init__(reason)
        self.again, self.status, self.answer = again, status, answer or {}


def private(address: str) -> bool:
    """Whether an address leads into a private network (loopback, link-local, RFC 1918, ...)."""
    start = address.find("://")
    return start >= 0 and _private(urlsplit(address[address.rfind("/", 0, start) + 1 :]).hostname)


@lru_cache(maxsize=1024)
def _private(host: str | None) -> bool:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host or "", None)}
    except (OSError, UnicodeError):  # no such name: there is nothing to reach
        return False
    return any(not ipaddress.ip_address(one.split("%")[0]).is_global for one in found)


class Bounded(HTTPAdapter):
    """Of a requests session: see the module's docstring. timeout: seconds of one read; home: the
    address that the user named; largest: bytes of an answer that is not streamed."""

    def __init__(self, home: str, timeout: float, largest: int = LARGEST_JSON, **options):
        self.home, self.deadline, self.largest = home, DEADLINE * timeout, largest
        super().__init__(**options)

    def init_poolmanager(self, *given, **options):
        super().init_poolmanager(*given, **options)
        kinds = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        self.poolmanager.pool_classes_by_scheme = {
            name: _timed(kind, self.deadline) for name, kind in kinds.items()
        }

    def send(self, request, stream=False, **options):
        if private(request.url) and not private(self.home):
            raise requests.exceptions.InvalidURL(PRIVATE)
        answer = super().send(request, stream=True, **options)
        answer.ends = time.monotonic() + self.deadline
        if not stream:  # whoever asks for .content has it here, in bounds
            answer._content = b"".join(parts(answer, self.largest))
            answer._content_consumed = True
        return answer


def _timed(pool: type, seconds: float) -> type:
    """A pool of connections whose answers begin, headers and all, within so many seconds."""

    class Connection(pool.ConnectionCls):
        def getresponse(self):
            timer = threading.Timer(seconds, _cut, (self.sock,))
            timer.start()
            begun = time.monotonic()
            try:
                answer = super().getresponse()
            finally:
                timer.cancel()
            if time.monotonic() - begun >= seconds:  # cut: what came is taken for all headers
                raise TimeoutError
            return answer

    return type(f"Timed{pool.__name__}", (pool,), {"ConnectionCls": Connection})


def _cut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        pass


def parts(answer: requests.Response, most: int) -> Iterator[bytes]:
    """The body of a streamed answer; Failed where it is longer than `most` bytes, or takes longer
    than its time."""
    size = 0
    try:
        while part := answer.raw.read1(1 << 16, decode_content=True):
            size += len(part)
            if size > most:
                raise Failed(f"more than {most >> 20} MiB", again=False)
            if time.monotonic() > answer.ends:
                raise Failed("the answer takes too long", again=True)
            yield part
    except HTTPError as problem:
        raise Failed(f"the transfer broke off ({type(problem).__name__})", again=True) from problem


class Getter:
    """One session's GET requests; `reached` turns true with the first answer of any kind. home: the
    address that the user named, see `Bounded`."""

    def __init__(
        self, session: requests.Session, home: str, *, tries: int = 5, timeout: float = 30.0
    ):
        self.session, self.patience, self.timeout = session, Patience.of(tries - 1), timeout
        self.reached = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, Bounded(home, timeout))

    def json(self, url: str, params: dict, headers: dict) -> dict:
        """The JSON object at url; Failed where there is none after all tries."""

        def read(answer: requests.Response) -> dict:
            try:
                found = parsed(b"".join(parts(answer, LARGEST_JSON)))
            except (ValueError, RecursionError) as problem:
                raise Failed("the answer is not JSON", again=True) from problem
            if not isinstance(found, dict):
                raise Failed("the answer is not a JSON object", again=False)
            return found

        return self._get(url, params, headers, read)

    def file(self, url: str, path: Path) -> None:
        """Write what is at url to path; Failed as above, and then path may hold a part."""

        def read(answer: requests.Response) -> None:
            with open(path, "wb") as target:
                for part in parts(answer, LARGEST):
                    target.write(part)

        self._get(url, {}, {}, read)

    def _get(self, url: str, params: dict, headers: dict, read: Callable):
        patience = self.patience
        while True:
            raw = None
            try:
                with self.session.get(
                    url, params=params, headers=headers, timeout=self.timeout, stream=True
                ) as answer:
                    self.reached, raw = True, answer.raw
                    if answer.ok:
                        return read(answer)
                    failure = _failure(answer)
            except requests.Timeout as problem:
                self.reached |= isinstance(problem, requests.ReadTimeout)
                failure = Failed(f"no answer within {self.timeout:g} seconds", again=True)
            except requests.ConnectionError:
                failure = Failed("no connection", again=True)
            except (requests.RequestException, HTTPError, UnicodeError) as problem:
                # a broken transfer, a bad address, ...
                why = PRIVATE if PRIVATE in str(problem) else type(problem).__name__
                again = isinstance(problem, requests.exceptions.ChunkedEncodingError)
                failure = Failed(f"request failed ({why})", again=again)
            except Failed as problem:
                failure = problem
            if not failure.again:
                raise failure
            try:
                patience = patience.increment("GET", response=raw)
            except MaxRetryError:
                raise failure from None
            patience.sleep(raw)


def _failure(answer: requests.Response) -> Failed:
    status = answer.status_code
    try:
        said = json.loads(b"".join(parts(answer, 1 << 20)))
    except (ValueError, RecursionError, Failed):
        said = {}
    said = said if isinstance(said, dict) else {}
    name = {429: " (too many requests)"}.get(status, "")
    return Failed(f"HTTP {status}{name}", status in AGAIN, status, said)
