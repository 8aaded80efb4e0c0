"""gairlib: three views of one place (satellite chip, street photo, coordinates) in one space.

An open implementation of GAIR (arXiv 2503.16683): `GAIR(config)` is the model,
`load_official(weights)` reads the published one. The public names stand in `__init__.pyi`, here
and in each sub-package, and load on first use: `import gairlib` alone imports no PyTorch.

| package            | what it does                                                        |
|--------------------|---------------------------------------------------------------------|
| `gairlib.data`     | datasets on disk or in a catalogue: scenes, photos, tables          |
| `gairlib.pairs`    | photos and the chips they stand in, cut, split, stored              |
| `gairlib.train`    | pretraining                                                         |
| `gairlib.embed`    | what a trained model gives: vectors, neighbours, dense fields, COGs |
| `gairlib.location` | location encoders: coordinates to vectors                           |
| `gairlib.weights`  | published weights: GAIR, CROMA, GeoCLIP, SatCLIP, ViTs              |
| `gairlib.cli`      | the command line `gair`                                             |
| `gairlib.mapping`  | `gairlib.fit`: maps learnt from a user's own labels                 |
| `gairlib.regress`  | a number at any place from numbers at others (extra `regress`)      |
"""

from gairlib.lazy import attach

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach(__name__, __file__)
__all__.append("__version__")
