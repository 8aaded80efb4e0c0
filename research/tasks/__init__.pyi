from research.tasks.registry import available, default_for, get, run
from research.tasks.result import Result
from research.tasks.task import Options, Task

__all__ = ["available", "default_for", "get", "run", "Result", "Options", "Task"]
