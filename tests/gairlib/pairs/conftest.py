"""Scenes that several tests of pairing share."""

import pytest
from builders.small_photos import write_three_scenes


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return write_three_scenes(tmp_path_factory.mktemp("scenes"))
