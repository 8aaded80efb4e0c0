import pytest

from gairlib.errors import extra


def test_a_missing_optional_package_names_its_extra():
    with pytest.raises(ImportError, match=r"no_such_package.*gairlib\[train\]"), extra("train"):
        import no_such_package  # noqa: F401


def test_a_missing_module_of_ours_is_a_defect_and_stays_one():
    with pytest.raises(ModuleNotFoundError, match="gairlib.nothing"), extra("train"):
        import gairlib.nothing  # noqa: F401
