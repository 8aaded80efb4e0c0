"""The benchmarks: what each asks, the data and splits that it asks of, and its run.

`available(dataset)` says which of them a folder can run, `get(name, dataset)` gives a `Task`, and
`run(name, dataset, Options(...))` its `Result`. A new benchmark is one class in one file (`task`).
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
