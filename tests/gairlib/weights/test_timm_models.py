"""Any model of timm's from a file: its own features, strict names, and no download unasked."""

import json

import pytest
import timm
import torch
from builders.small_weights import lite_file
from safetensors.torch import save_file

from gairlib.errors import BadInput, Missing
from gairlib.weights import timm_models
from gairlib.weights.timm_models import load_timm

NAME = "test_resnet.r160_in1k"


def model(seed: int = 0):
    torch.manual_seed(seed)
    return timm.create_model(NAME, pretrained=False).eval()


@pytest.fixture()
def photos():
    return torch.randint(
        0, 256, (2, 3, 160, 160), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def test_features_are_timms_own_in_the_weights_scale(tmp_path, photos):
    theirs = model()
    path = tmp_path / f"{NAME}.pth"
    torch.save(theirs.state_dict(), path)  # with its classifier
    ours = load_timm(path)
    assert ours.size == 160 and not ours.training
    config = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[k])[:, None, None] for k in ("mean", "std"))
    with torch.inference_mode():
        expected = theirs.forward_head(
            theirs.forward_features((photos / 255 - mean) / std), pre_logits=True
        )
        torch.testing.assert_close(ours(photos), expected, rtol=1e-4, atol=1e-5)


def test_a_folder_of_the_hub_says_model_and_scale(tmp_path, photos):
    save_file(model(1).state_dict(), tmp_path / "model.safetensors")
    about = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "input_size": [3, 96, 96]}
    config = {"architecture": "test_resnet", "pretrained_cfg": about}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = load_timm(tmp_path / "model.safetensors")
    assert found.size == 96
    torch.testing.assert_close(found.mean.flatten(), 255 * torch.tensor([0.5, 0.4, 0.3]))


def test_a_file_without_a_models_name_or_with_other_tensors_is_refused(tmp_path):
    path = tmp_path / "best.pth"
    torch.save(model().state_dict(), path)
    with pytest.raises(BadInput, match="best.*config.json"):
        load_timm(path)
    state = model().state_dict()
    state.pop("conv1.weight", state.pop(next(iter(state))))
    torch.save(state, tmp_path / "test_resnet.pth")
    with pytest.raises(BadInput, match="is missing"):
        load_timm(tmp_path / "test_resnet.pth")


def test_it_downloads_only_where_asked_and_says_what_to_do_without_a_network(monkeypatch):
    def no_network(name, pretrained, num_classes):
        assert pretrained
        raise ConnectionError("no route")

    monkeypatch.setattr(timm_models.timm, "create_model", no_network)
    with pytest.raises(Missing, match="ConnectionError.*name a file"):
        load_timm("timm:test_resnet.r160_in1k")
    with pytest.raises(BadInput, match="no model 'dinov9'"):
        load_timm("timm:dinov9")


def test_efficientnet_pytorchs_names_are_read_as_the_tower_reads_them(tmp_path):
    """The asset's file by the same function, the features those of timm's own names."""
    path, theirs = lite_file(tmp_path)
    named = path.rename(tmp_path / "tf_efficientnet_lite0.pth")
    found = load_timm(named)
    x = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(found(x), theirs((x - 127.5) / 127.5), rtol=1e-4, atol=1e-5)
