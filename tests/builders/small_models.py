"""Small configurations that have every part."""

from gairlib.config import GAIRConfig

SMALL = GAIRConfig(
    dim=16,
    rs_size=32,
    rs_patch=8,
    rs_depth=1,
    rs_heads=2,
    sv_size=32,
    decoder_hidden=(16,),
    sv_options={"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
)
WIDER_SV = SMALL.replace(sv_options={**SMALL.sv_options, "embed_dim": 24})
TINY = GAIRConfig(
    dim=16,
    rs_size=16,
    rs_depth=1,
    rs_heads=2,
    decoder_hidden=[8],
    sv_size=16,
    sv_options=dict(img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2),
)
