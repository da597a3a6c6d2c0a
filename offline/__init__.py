"""Before serving: data, reference models, codecs, measurement, bundles."""

# Makes timm importable, for the readers that `offline.data.images` takes from it.
import thinwire.nn  # noqa: F401
