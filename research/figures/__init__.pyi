from research.figures import architecture as architecture
from research.figures import benchmarks as benchmarks
from research.figures import box_error as box_error
from research.figures import coordbench as coordbench
from research.figures import embeddings as embeddings
from research.figures import examples as examples
from research.figures import inr as inr
from research.figures import pairing as pairing
from research.figures import predicted as predicted
from research.figures import retrieval as retrieval
from research.figures import studies as studies
from research.figures import style as style
from research.figures import training as training
from research.figures import world as world

__all__ = [
    "architecture",
    "benchmarks",
    "box_error",
    "coordbench",
    "embeddings",
    "examples",
    "inr",
    "pairing",
    "predicted",
    "retrieval",
    "studies",
    "style",
    "training",
    "world",
]
