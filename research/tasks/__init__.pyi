from research.tasks.registry import available, get, run
from research.tasks.result import Result
from research.tasks.task import Options, Task

__all__ = ["available", "get", "run", "Result", "Options", "Task"]
