"""A direction to turn by hand: the explorer's field as a camera sees it that looks there.

For a model that reads headings alone; a field that does not is the same in every direction.
"""

from collections.abc import Callable

import ipywidgets

from gairlib.embed.field import Field
from research.maps.explorer_widgets import SceneClicks

STEP = 15  # degrees between the stops
ALL = "all directions"


def slider(clicks: SceneClicks, read: Callable[..., Field]) -> ipywidgets.SelectionSlider:
    """Turns the field of `clicks.explorer` and answers its last questions anew. read: heading=,
    degrees clockwise from the scene's upper edge, -> the field so; each stop is read once, in
    seconds, and kept."""
    kept = {ALL: clicks.explorer.field}
    stops = [(ALL, ALL), *((f"{h}°", float(h)) for h in range(0, 360, STEP))]
    turned = ipywidgets.SelectionSlider(
        options=stops, value=ALL, description="looking", continuous_update=False
    )
    turned.add_class("gairlib-heading")

    def turn(change: dict) -> None:
        heading = change["new"]
        if heading not in kept:
            kept[heading] = read(heading=heading)
        clicks.explorer.show(kept[heading])
        clicks.again()

    turned.observe(turn, "value")
    return turned
