"""Many runs and one sentence: which switch of the training matters, does the alignment hold where a
place is wrong, and what do location encoders know of places that they did not see?

`ablation` trains variants, `stress` reads trained models at wrong places, `seeds` judges the same
training with other seeds, `coordbench` probes location encoders. `runs` starts processes and keeps
what they gave, `worker` is such a process.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
