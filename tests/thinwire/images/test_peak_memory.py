"""What decoding one image takes of memory: a share of its own pixels, whatever is converted."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.thinwire.images import profiles
from tests.thinwire.images.making import saved

# The peak is that of the new process alone, which `getrusage` does not promise.
PEAK = """
import sys
from pathlib import Path
from thinwire.images import Preprocessing, decode, to_pixels

def peak_kib():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])

data, how = sys.stdin.buffer.read(), Preprocessing(32, 1.0, "bicubic", (0, 0, 0), (1, 1, 1))
before = peak_kib()
to_pixels(decode(data), how)
print(peak_kib() - before)
"""
FAST = {"compress_level": 1}
# For each kind of conversion: the mode, the format, how it is written, and the peak over four bytes for each pixel.
WAYS = {
    "none": ("RGB", "PNG", FAST, 1.6),
    "alpha": ("RGBA", "PNG", FAST, 2.6),
    "grey with alpha": ("LA", "PNG", FAST, 2.6),
    "a profile of inks": ("CMYK", "JPEG", {"icc_profile": profiles.inks()}, 2.6),
    "a profile of RGB": ("RGB", "PNG", FAST | {"icc_profile": profiles.wide_rgb()}, 2.6),
    "floats": ("F", "TIFF", {"compression": "tiff_lzw"}, 2.6),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc of Linux")
@pytest.mark.parametrize("way", WAYS)
def test_an_image_takes_a_few_times_its_own_memory_at_most(way):
    mode, form, options, most = WAYS[way]
    side = 3000
    data = saved(Image.new(mode, (side, side)), form, **options)
    done = subprocess.run([sys.executable, "-c", PEAK], input=data, capture_output=True, check=True, timeout=120)
    assert int(done.stdout) * 2**10 < most * 4 * side**2
