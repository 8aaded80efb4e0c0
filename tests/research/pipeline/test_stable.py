import re
from uuid import uuid4

import folium
import numpy as np
from folium.map import CustomPane
from folium.raster_layers import ImageOverlay

from research.pipeline.stable import counted, without_bars


def page() -> str:
    layer, table = uuid4().hex, uuid4().hex[:5]
    return (
        f"var layer_control_{layer}_layers = map_{layer}; let map_{layer}; "
        f"#T_{table}_row0 {{}} <b id=T_{table}>"
        f"<input id='attrs-{uuid4()}'> /tmp/ipykernel_{layer[:4].translate(NUMBERS)}/12.py"
    )


NUMBERS = str.maketrans("abcdef", "123456")


def test_ids_drawn_at_random_are_counted():
    one, other = counted(page()), counted(page())
    assert one == other and "layer_control_0_layers = map_1" in one and "#T_2_row0" in one


def folium_map() -> str:
    m = folium.Map(tiles=None)
    CustomPane("ground").add_to(m)
    ImageOverlay(np.zeros((2, 2, 3)), [[0, 0], [1, 1]], pane="ground").add_to(m)
    folium.FeatureGroup(name="none").add_to(m)
    folium.LayerControl().add_to(m)
    return m.get_root().render()


def test_a_map_is_the_same_bytes_each_time():
    one = counted(folium_map())
    assert one == counted(folium_map()) and not re.search("_[0-9a-f]{32}", one)


def test_bars_are_left_out_and_other_text_stays():
    text = (
        "before\nphotos:  32%|### | 27/84 [00:01<00:02, 26.8it/s]\rx: 12it [01:02,  8.1it/s]\nafter"
    )
    assert without_bars(text) == "before\nafter"
    assert without_bars("[12, 30] metres\n") == "[12, 30] metres\n"


def test_ids_of_the_data_stay_as_they_are():
    names = [str(uuid4()), f"img_{uuid4().hex}", "T_00012", f"photo {uuid4()}.jpg"]
    names += [f"{kind}_{uuid4().hex}" for kind in ("map", "pane", "figure", "image_overlay")]
    for name in names:
        text = f'<td>{name}</td><b title="{name}">gairlibMap({{"id": "{name}"}})'
        assert counted(text) == text
        assert text in counted(folium_map().replace("</body>", f"{text}</body>"))
