"""Ground with labels, and a small model to read it."""

import pytest
from builders.mapped import Mapped
from builders.small_models import SMALL

from gairlib import GAIR


@pytest.fixture(scope="module")
def model():
    return GAIR(SMALL).eval()


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    return Mapped(tmp_path_factory.mktemp("land"))
