"""Every benchmark: its question, its data, its run; one class in one file (`Task`).

`available(dataset)` says which tasks a folder can run and why not the others, `run(name, dataset)`
gives a `Result`.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
