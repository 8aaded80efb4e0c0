"""What a run's own process does: one thread, from its specification to its file, and no longer than
the process that started it."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gairlib.errors import BadInput, Missing
from gairlib.files import atomic_write


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone: it would be started again."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def serve(module: str, work: Callable[[dict], dict], arguments: list[str] | None) -> int:
    """What a process of `runs.run_all` does: one thread, from its SPEC.json to the run's file.

    work: the specification -> the file's content. Exit code 0, or 1 with one sentence.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print(f"usage: python -m {module} SPEC.json", file=sys.stderr)
        return 2
    spec = json.loads(Path(arguments[0]).read_text())
    end_with_parent()
    torch.set_num_threads(1)
    try:
        result = work(spec)
    except (BadInput, Missing) as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    with atomic_write(Path(spec["file"])) as part:
        part.write_text(json.dumps(result))
    shutil.rmtree(spec["work"], ignore_errors=True)
    return 0
