"""A model for chips of 16 px."""

import pytest
from builders.small_models import TINY

from gairlib.embed import encode


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encode.random_init(TINY, 7).save_pretrained(folder)
    return folder
