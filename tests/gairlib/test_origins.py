"""Licences of what a model started from: known by source, never guessed, beside the weights."""

import pytest

from gairlib import origins
from gairlib.errors import BadInput
from gairlib.origins import Origin


@pytest.mark.parametrize(
    "source, licence",
    [
        ("hub:antofuller/CROMA/CROMA_base.pt", "MIT"),
        ("hub:MVRL/geoclip-location-encoder@v1", "MIT"),
        ("hub:microsoft/SatCLIP-ViT16-L40", "MIT"),
        ("hub:nasaharvest/galileo", "MIT"),
        ("hub:zpl99/GAIR", "CC BY-NC 4.0"),
        ("hub:PingL/GAIR/checkpoint.pth", "CC BY-NC 4.0"),
        ("hub:timm/vit_base_patch16_224.dino", "that of the model, on its hub page"),
        ("hub:someone/antofuller/CROMA", "unknown, see hub:someone/antofuller/CROMA"),
        ("weights/CROMA_base.pt", "unknown, see weights/CROMA_base.pt"),
        ("antofuller/croma.pt", "unknown, see antofuller/croma.pt"),
    ],
)
def test_known_and_unknown_sources(source, licence):
    assert origins.of("rs", source).licence == licence


def test_what_is_written_is_read_and_nothing_known_leaves_no_file(tmp_path):
    some = (Origin("rs", "a.pt", "unknown, see a.pt"), Origin("sv", "b", "MIT", "B et al."))
    for known in (some, ()):
        origins.write(tmp_path, known)
        assert origins.read(tmp_path) == known
    origins.write(tmp_path, None)
    assert origins.read(tmp_path) is None and not list(tmp_path.iterdir())
    said = origins.licence(some, tmp_path)
    assert "rs: unknown, see a.pt" in said and "sv: MIT (b)" in said
    (tmp_path / "origins.json").write_text('[{"name": 1}]')
    with pytest.raises(BadInput, match=r"origins\.json: a list of entries with part"):
        origins.read(tmp_path)
