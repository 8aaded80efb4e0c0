"""Other projects' published weights in our modules, each with one function.

| function      | source                            | gives                                       |
|---------------|-----------------------------------|---------------------------------------------|
| load_geoclip  | VicenteVivan/geo-clip, MIT        | (lon, lat) [N, 2] -> [N, 512]               |
| load_satclip  | microsoft/satclip, MIT            | (lon, lat) [N, 2] -> [N, 256]               |
| load_croma    | antofuller/CROMA, MIT             | `rs.RSEncoder`: chips of 10 or 12 bands     |
| load_timm_vit | huggingface/pytorch-image-models  | `sv.SVEncoder`: photos; licence by model    |

Each takes a source by name (`gairlib.hub`: a folder, a file, an asset, a hub id; `revision`,
`token`, `cache_dir`, `local_files_only`) or a state dict, and a `device`; reads .safetensors, or a
pickle with `weights_only`; infers the sizes from the tensors, and refuses missing, unknown and
misshapen ones by name. They are no names of `gairlib.location`: those build without files (its
`geoclip` is the design alone, which `initialise` fills). The published GAIR itself:
`GAIR.from_pretrained`.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
