"""GEO-Bench's files: bands by name, scales, labels, and pickles that stay closed."""

import json

import h5py
import numpy as np
import pytest
from builders import small_published as small

from gairlib import bands
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.published import geobench, geobench_files


def test_samples_are_read_when_asked_for_and_no_pickle_is_opened(tmp_path):
    root = small.geobench(tmp_path, "m-bigearthnet")
    samples = geobench_files.Samples(root, ["id_0000", "id_0001", "id_0004"])
    assert len(samples) == 3 and samples[0].shape == (10, 16, 16) and samples.bands == "10"
    assert samples[1:].shape == (2, 10, 16, 16) and samples[1:].dtype == np.float32
    order = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]  # of B02 .. B12 in the file
    assert np.allclose(samples[1].mean((1, 2)), 3000 + 10 * np.array(order), atol=5)
    geobench.probing("m-bigearthnet", Dataset(tmp_path))
    assert not (root / "opened").exists()


@pytest.mark.parametrize(
    "name, true",
    [
        # what the file's k-th band really is (geo-bench issues #28 and #29)
        ("m-eurosat", "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A"),
        ("m-brick-kiln", "B01 B02 B03 B04 B05 B07 B8A B08 B11 B12 TCI TCI TCI"),
    ],
)
def test_bands_that_are_published_under_wrong_names_are_put_right(tmp_path, name, true):
    root = small.geobench(tmp_path, name)
    samples = geobench_files.Samples(root, ["id_0000"])
    for at, band in enumerate(bands.BANDS):
        if band in true.split():
            value = 1000 + 10 * true.split().index(band)
            assert abs(samples[0][at].mean() - value) < 5, band
        else:
            assert np.allclose(samples[0][at], bands.MEAN[at])
    assert any("true order" in note for note in geobench.probing(name, Dataset(tmp_path)).notes)


def test_radar_is_left_out_reflectance_scaled_and_dates_are_allowed(tmp_path):
    names = ["01 - VH.Real", "02 - VH.Imaginary", "02 - Blue_2020-01-05", "04 - Red_2020-01-05"]
    root = small.geobench(tmp_path, "m-so2sat", bands=names, scale=1e-4)
    samples = geobench_files.Samples(root, ["id_0001"])
    assert samples.bands == "B02,B04"
    assert abs(samples[0][0].mean() - 3020) < 5 and abs(samples[0][2].mean() - 3030) < 5
    assert np.allclose(samples[0][1], bands.MEAN[1])


def test_aerial_pictures_go_through_the_published_statistics(tmp_path):
    root = small.geobench(tmp_path, "m-pv4ger", bands=["Red", "Green", "Blue"], scale=0.05)
    samples = geobench_files.Samples(root, ["id_0000", "id_0001"])
    assert samples.bands == "B02,B03,B04"
    assert np.allclose(samples[1][2], bands.MEAN[2] + bands.STD[2], atol=8)
    stats_file = root / "band_stats.json"
    stats_file.write_text(json.dumps({"Red": {"mean": 1.0}}))
    with pytest.raises(BadInput, match="band_stats.json: mean and std of 'Blue'"):
        geobench_files.Samples(root, ["id_0000"])


def test_coarse_bands_are_enlarged_and_broken_files_named(tmp_path):
    root = small.geobench(tmp_path, "m-bigearthnet", side=8)
    with h5py.File(root / "id_0000.hdf5", "a") as file:
        del file["11 - SWIR"]
        file["11 - SWIR"] = np.arange(16.0).reshape(4, 4)
    samples = geobench_files.Samples(root, ["id_0000"])
    assert (samples[0][8][:2, :4] == [[0, 0, 1, 1]] * 2).all()
    with h5py.File(root / "id_0001.hdf5", "a") as file:
        del file["11 - SWIR"]
    with pytest.raises(BadInput, match="id_0001.hdf5: no band '11 - SWIR'"):
        geobench_files.Samples(root, ["id_0000", "id_0001"])[1]
    (root / "id_0002.hdf5").write_bytes(b"not HDF5")
    with pytest.raises(BadInput, match="id_0002.hdf5: not readable as HDF5"):
        geobench_files.Samples(root, ["id_0002"])


def test_labels_come_from_json_and_a_pickle_is_refused_in_words(tmp_path):
    root = small.geobench(tmp_path, "m-eurosat")
    assert list(geobench_files.labels(root, ["id_0003", "id_0004"])) == ["1", "0"]
    (root / "label_map.json").unlink()
    with pytest.raises(BadInput, match="a pickle can run any code"):
        geobench.probing("m-eurosat", Dataset(tmp_path))
    assert not (root / "opened").exists()
    (root / "label_stats.json").write_text(json.dumps({"a": [0, 1, 0], "b": [1, 0, 0]}))
    assert list(geobench_files.labels(root, ["a", "b"])) == ["1", "0"]
    (root / "label_stats.json").write_text(json.dumps({"a": [0, 1, 1], "b": [1, 0, 0]}))
    assert geobench_files.labels(root, ["a", "b"]).tolist() == [[0, 1, 1], [1, 0, 0]]
    with pytest.raises(BadInput, match="label_stats.json: no label for c"):
        geobench_files.labels(root, ["c"])
    (root / "label_stats.json").write_text(json.dumps({"a": [0, 0.5], "b": [1, 0]}))
    with pytest.raises(BadInput, match="zeros and ones"):
        geobench_files.labels(root, ["a", "b"])


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/../../b"])
def test_sample_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    root = small.geobench(tmp_path, "m-eurosat")
    path = next(root.glob("*partition.json"))
    table = json.loads(path.read_text())
    path.write_text(json.dumps({split: [name] for split in table}))
    with pytest.raises(BadInput, match="leaves the dataset folder"):
        geobench_files.partition(root)
