"""The one policy of retries: how long it waits, how often, and what it takes for final."""

import pytest
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
