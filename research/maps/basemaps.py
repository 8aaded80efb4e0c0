"""Tiles under the overlays, where a reader asks for them and has a network.

The addresses are those of xyzservices (which leafmap takes them from too). map.js takes the layer
away again, and says so, where no tile of it can be loaded.
"""

from gairlib.errors import BadInput


def basemap_tiles(name: str) -> dict:
    """The provider of that name, such as "OpenStreetMap.Mapnik" or "Esri.WorldImagery" ->
    {name, url, options} for Leaflet; BadInput for an unknown one and for one that needs a key."""
    import xyzservices.providers as providers

    try:
        provider = providers.query_name(name)
    except ValueError as problem:
        raise BadInput(
            f"basemap {name!r}: xyzservices has no such provider; "
            "OpenStreetMap.Mapnik and Esri.WorldImagery are two that need no key"
        ) from problem
    if provider.requires_token():
        raise BadInput(
            f"basemap {provider.name}: this provider needs a key, which would stand in the page; "
            "take one without, such as OpenStreetMap.Mapnik"
        )
    credit = provider.get("html_attribution") or provider.get("attribution", provider.name)
    return {
        "name": provider.name,
        "url": provider.url,
        "options": {k: v for k, v in provider.items() if k not in ("url", "name")}
        | {"attribution": credit, "maxNativeZoom": provider.get("max_zoom", 18), "maxZoom": 21},
    }
