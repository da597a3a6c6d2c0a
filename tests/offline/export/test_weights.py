"""Finding weights in a bundle's files."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from offline.export.weights import WeightFiles


@pytest.fixture(name="saved")
def saved_fixture(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float16)
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    save_file({"weight": values, "number": np.array(3)}, paths[0], metadata={"of": "whom"})
    save_file({"other": values + 1}, paths[1])
    return values, paths


def read(paths, place, value):
    name, offset = place
    path = next(path for path in paths if path.name == name)
    return np.fromfile(path, np.float16, value.size, offset=offset).reshape(value.shape)


def test_whole_tensors_and_their_parts_are_found(saved):
    values, paths = saved
    files = WeightFiles(paths)
    for wanted in (values, values + 1, values[3:6], values.reshape(7, 9), (values + 1)[:, None]):
        np.testing.assert_array_equal(read(paths, files.find(wanted), wanted), wanted)


def test_what_is_not_there_in_this_order_is_not_found(saved):
    values, paths = saved
    files = WeightFiles(paths)
    assert files.find(values + 2) is None
    assert files.find(values.T) is None
    assert files.find(values[:, :3]) is None
    assert files.find(values.view(np.uint8).ravel()[1:41].view(np.float16)) is None
