"""A first signal is noted, a second one interrupts, and handlers are put back."""

import os
import signal
import threading

import pytest

from gairlib.train.engine import catch_stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_is_noted_second_interrupts(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), catch_stop_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        os.kill(os.getpid(), number)
        pytest.fail("the second signal did nothing")
    assert signal.getsignal(number) is before


def test_another_thread_may_use_it_without_handlers():
    seen = []

    def work():
        with catch_stop_signals() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
