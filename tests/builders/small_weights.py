"""State dicts of small random values, pictures for them, the refusals that converters owe them."""

import math

import pytest
import timm
import torch

from gairlib.errors import BadInput


def random_state(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        for name, shape in shapes.items()
    }


def croma_shapes(width, depth, bands=12):
    shapes = {"linear_input.weight": (width, 64 * bands), "linear_input.bias": (width,)}
    for i in range(depth):
        at, ff = f"transformer.layers.{i}.0", f"transformer.layers.{i}.1"
        shapes |= {
            f"{at}.to_qkv.weight": (3 * width, width),
            f"{at}.to_out.weight": (width, width),
            f"{at}.to_out.bias": (width,),
            f"{at}.input_norm.weight": (width,),
            f"{at}.input_norm.bias": (width,),
            f"{ff}.net.0.weight": (4 * width, width),
            f"{ff}.net.0.bias": (4 * width,),
            f"{ff}.net.3.weight": (width, 4 * width),
            f"{ff}.net.3.bias": (width,),
            f"{ff}.input_norm.weight": (width,),
            f"{ff}.input_norm.bias": (width,),
        }
    shapes |= {"transformer.norm_out.weight": (width,), "transformer.norm_out.bias": (width,)}
    return shapes


def galileo_published(encoder):
    """A `Galileo`'s tensors under the published names, those that it does not use among them."""
    own = {k: v.detach().clone() for k, v in encoder.state_dict().items()}
    groups = ("S2_RGB", "S2_Red_Edge", "S2_NIR_10m", "S2_NIR_20m", "S2_SWIR", "NDVI")
    state = {"space_time_embed.S1.proj.bias": torch.ones(3), "sp_channel_embed": torch.ones(3, 4)}
    for name, value in own.items():
        part, _, rest = name.partition(".")
        if part == "embed":
            number, kind = rest.split(".")
            state[f"space_time_embed.{groups[int(number)]}.proj.{kind}"] = value
        elif ".qkv." in name:
            for letter, third in zip("qkv", value.chunk(3)):
                state[name.replace("qkv", letter)] = third.clone()
        elif part in ("blocks", "norm"):
            state[name] = value
    state["s_t_channel_embed"] = torch.cat([torch.ones_like(own["channel"][:1]), own["channel"]])
    state["pos_embed"] = own["time"].expand(24, -1).clone()
    state["month_embed.weight"] = own["months"]
    return state


def geoclip_state(features=256, hidden=1024, dim=512):
    """geo-clip's LocationEncoder, full size unless said otherwise."""
    shapes = {}
    for k in range(3):
        shapes[f"LocEnc{k}.capsule.0.b"] = (features, 2)
        for layer, size in ((1, (hidden, 2 * features)), (3, (hidden,) * 2), (5, (hidden,) * 2)):
            shapes[f"LocEnc{k}.capsule.{layer}.weight"] = size
            shapes[f"LocEnc{k}.capsule.{layer}.bias"] = size[:1]
        shapes |= {f"LocEnc{k}.head.0.weight": (dim, hidden), f"LocEnc{k}.head.0.bias": (dim,)}
    return random_state(shapes)


def satclip_state(L=10, hidden=512, dim=256):
    shapes = {
        "nnet.layers.0.weight": (hidden, L * L),
        "nnet.layers.0.bias": (hidden,),
        "nnet.layers.1.weight": (hidden, hidden),
        "nnet.layers.1.bias": (hidden,),
        "nnet.last_layer.weight": (dim, hidden),
        "nnet.last_layer.bias": (dim,),
    }
    state = random_state(shapes)
    state["nnet.layers.0.weight"] *= 0.1  # 30 times it goes through a sine
    return state


def chips(bands, size=40, seed=1):
    return torch.rand(2, bands, size, size, generator=torch.Generator().manual_seed(seed))


def photos(size):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))


def refuses(load, state, name):
    """Missing, misshapen and unknown tensors are named."""
    without = {k: v for k, v in state.items() if k != name}
    with pytest.raises(BadInput, match=f"{name}.*missing"):
        load(without)
    with pytest.raises(BadInput, match=name):
        load({**state, name: state[name][..., :-1]})
    surprise = name.rsplit(".", 1)[0] + ".surprise"
    with pytest.raises(BadInput, match=f"{surprise} is unknown"):
        load({**state, surprise: torch.zeros(2)})


def lite_file(folder):
    """tf_efficientnet_lite0 with random weights in the layout of EfficientNet-PyTorch."""
    torch.manual_seed(4)
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    names, flat = {}, [block for stage in theirs.blocks for block in stage]
    at = {id(block): f"_blocks.{i}" for i, block in enumerate(flat)}
    for stage, blocks in enumerate(theirs.blocks):
        for k, block in enumerate(blocks):
            old, new = f"blocks.{stage}.{k}", at[id(block)]
            first = not hasattr(block, "conv_pwl")
            for theirs_, ours in zip(
                ("conv_dw", "bn1", "conv_pw", "bn2")
                if first
                else ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
                ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
                if first
                else ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
            ):
                names[f"{old}.{theirs_}"] = f"{new}.{ours}"
    names |= {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    names["classifier"] = "_fc"
    state = {
        f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": torch.rand_like(v.float()) * 0.1
        if v.is_floating_point()
        else v
        for k, v in theirs.state_dict().items()
    }
    torch.save(state, folder / "lite0.pth")
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values())))
    theirs.reset_classifier(0)
    return folder / "lite0.pth", theirs
