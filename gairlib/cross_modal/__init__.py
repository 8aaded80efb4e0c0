"""Retrieval between photos, localised RS embeddings and coordinates.

`search`: ranks and distances in km of one gallery. `places`: the tasks `retrieval-sv-location` and
`retrieval-rs-location`. Photo and localised RS in both directions is `gairlib.benchmark_retrieval`.
"""
