"""HTTP GET with patience: rate limits, server errors and timeouts are tried again, then told.

Waits double from one second; where the server says how long (Retry-After, RFC 9110 section 10.2.3),
that is obeyed. No message holds an address, since an address may hold a token.
"""

import email.utils
import time
from collections.abc import Callable
from pathlib import Path

from gairlib.errors import extra

with extra("stac"):
    import requests

LONGEST_WAIT = 600.0  # seconds; a server that asks for more is waited for no longer than this
LARGEST = 200 << 20  # bytes of one answer


class Failed(Exception):
    """A request that came to nothing: str() says why; `again`: a later run may have more luck."""

    def __init__(self, reason: str, again: bool, status: int = 0, answer: dict | None = None):
        super().__init__(reason)
        self.again, self.status, self.answer = again, status, answer or {}


class Getter:
    """One session's GET requests; `reached` turns true with the first answer of any kind."""

    def __init__(
        self,
        session: requests.Session,
        *,
        tries: int = 5,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.session, self.tries, self.timeout, self.sleep = session, tries, timeout, sleep
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

        return self._patiently(url, params, headers, read)

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

        self._patiently(url, {}, {}, read)

    def _patiently(self, url: str, params: dict, headers: dict, read: Callable):
        for attempt in range(self.tries):
            wait = 2.0**attempt
            try:
                with self.session.get(
                    url, params=params, headers=headers, timeout=self.timeout, stream=True
                ) as answer:
                    self.reached = True
                    if answer.ok:
                        return read(answer)
                    failure = _failure(answer)
                    wait = _asked_wait(answer) or wait
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
            if not failure.again or attempt == self.tries - 1:
                break
            self.sleep(min(wait, LONGEST_WAIT))
        raise failure


def _failure(answer: requests.Response) -> Failed:
    status = answer.status_code
    try:
        said = answer.json()
    except (ValueError, requests.RequestException):
        said = {}
    said = said if isinstance(said, dict) else {}
    name = {429: " (too many requests)"}.get(status, "")
    return Failed(f"HTTP {status}{name}", status in (408, 425, 429) or status >= 500, status, said)


def _asked_wait(answer: requests.Response) -> float:
    """Seconds of the Retry-After header, as a number or a date; 0 where there is none."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
