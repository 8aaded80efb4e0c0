"""Processes that torchrun has started, one a GPU: whose part of the work is which, and waiting.

    torchrun --standalone --nproc-per-node 8 -m gairlib.cli embed data --model MODEL --out vectors

They share a file system, and talk by gloo, on the CPU: all that they tell each other is counts. A
process that torchrun has not started waits for nobody. Where one of them fails torchrun ends all.
"""

from datetime import timedelta

import torch
import torch.distributed as dist

from gairlib import devices

LONGEST = timedelta(days=7)  # that one waits for another


class Ranks:
    """rank, of `world` processes; made by all of them at the same point."""

    def __init__(self) -> None:
        self.rank, self.world = devices.rank()
        self._group = None
        if self.world > 1:
            if not dist.is_initialized():
                dist.init_process_group("gloo", timeout=LONGEST)
            self._group = dist.new_group(backend="gloo", timeout=LONGEST)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, count: int) -> int:
        """The sum of all processes' counts, once all are here."""
        if self.world == 1:
            return count
        total = torch.tensor(count, dtype=torch.int64)
        dist.all_reduce(total, group=self._group)
        return int(total)

    def wait(self) -> None:
        """Until all processes are here."""
        self.sum(0)
