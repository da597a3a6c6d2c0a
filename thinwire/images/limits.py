"""How large an image, and what stands beside its pixels, may be."""

MAX_BYTES = 16 * 2**20
MAX_PIXELS = 50_000_000
# Pillow's decoder of WebP holds an image four times, where others hold it once or twice.
MAX_WEBP_PIXELS = MAX_PIXELS // 2
# As many as JPEG allows. Pillow keeps every row by itself: 50 million rows of one pixel would take a gigabyte.
MAX_SIDE = 65_535
# So many are converted at once, since a copy of a large image takes as much memory as the image.
BAND_PIXELS = 2**20
# Of colour profiles, uncompressed: the largest that print shops hand out have about 3 MiB.
MAX_PROFILE_BYTES = 4 * 2**20
# Of text that may hold an orientation, uncompressed.
MAX_TEXT_BYTES = 2**20
# Chunks or segments of a file: each takes microseconds, and 16 MiB have room for millions that are empty.
MAX_PARTS = 100_000
