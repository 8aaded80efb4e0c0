"""A reader that stays ahead: what comes next is read while what came before is encoded."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], count: int = 2) -> Iterator[T]:
    """The items in their order, `count` of them drawn beforehand, by one thread of its own: so an
    iterator that holds open files may be handed over. What it raises is raised here."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = deque(pool.submit(next, source, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item
