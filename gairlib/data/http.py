"""HTTP requests with one policy of retries, for catalogues and photo services alike.

`Patience` is urllib3's Retry: rate limits, server errors, timeouts and refused connections are
tried again; waits double, and where the server says how long (Retry-After, RFC 9110 section
10.2.3) that is obeyed, up to LONGEST_WAIT. STAC clients take it as it is; `Getter` asks it about
transfers that break off as well. No message holds an address, since an address may hold a token.
"""

import time
from collections.abc import Callable
from pathlib import Path

from gairlib.errors import extra

with extra("stac"):
    import requests
    from urllib3 import Retry
    from urllib3.exceptions import MaxRetryError

LONGEST_WAIT = 600.0  # seconds; a server that asks for more is waited for no longer than this
LARGEST = 200 << 20  # bytes of one answer
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
        asked = None if response is None else self.get_retry_after(response)
        self.wait(min(asked or self.get_backoff_time(), LONGEST_WAIT))


class Failed(Exception):
    """A request that came to nothing: str() says why; `again`: a later run may have more luck."""

    def __init__(self, reason: str, again: bool, status: int = 0, answer: dict | None = None):
        super().__init__(reason)
        self.again, self.status, self.answer = again, status, answer or {}


class Getter:
    """One session's GET requests; `reached` turns true with the first answer of any kind."""

    def __init__(self, session: requests.Session, *, tries: int = 5, timeout: float = 30.0):
        self.session, self.patience, self.timeout = session, Patience.of(tries - 1), timeout
        self.reached = False

    def json(self, url: str, params: dict, headers: dict) -> dict:
        """The JSON object at url; Failed where there is none after all tries."""

        def read(answer: requests.Response) -> dict:
            try:
                found = answer.json()
            except ValueError as problem:
                raise Failed("the answer is not JSON", again=True) from problem
            if not isinstance(found, dict):
                raise Failed("the answer is not a JSON object", again=False)
            return found

        return self._get(url, params, headers, read)

    def file(self, url: str, path: Path) -> None:
        """Write what is at url to path; Failed as above, and then path may hold a part."""

        def read(answer: requests.Response) -> None:
            size = 0
            with open(path, "wb") as target:
                for part in answer.iter_content(1 << 16):
                    size += len(part)
                    if size > LARGEST:
                        raise Failed(f"more than {LARGEST >> 20} MiB", again=False)
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
            except requests.RequestException as problem:  # a broken transfer, a bad address, ...
                again = isinstance(problem, requests.exceptions.ChunkedEncodingError)
                failure = Failed(f"request failed ({type(problem).__name__})", again=again)
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
        said = answer.json()
    except (ValueError, requests.RequestException):
        said = {}
    said = said if isinstance(said, dict) else {}
    name = {429: " (too many requests)"}.get(status, "")
    return Failed(f"HTTP {status}{name}", status in AGAIN, status, said)
