"""What an exported graph takes and gives: the contract between those who write one and those who run it. No torch."""

# Of the layout of inputs, outputs and metadata.
FORMAT = 1
# Key of the model's metadata under which a JSON object stands.
METADATA = "thinwire"
EDGE = "edge.onnx"
CLOUD = "cloud.onnx"
PLAIN = "plain.onnx"

EDGE_INPUTS = (
    ("pixels", "uint8"),
    ("thresholds", "float32"),
    ("symbols_per_token", "int64"),
    ("snr_db", "float32"),
    ("max_tokens", "int64"),
)
"""Name and type. ``size x size x 3``, one threshold per layer (with
`Merging.front` one more, the first), and vectors of one element: the rate, the SNR in dB, the
most tokens to send."""

SPEECH_INPUTS = (("features", "float32"), *EDGE_INPUTS[1:])
"""As `EDGE_INPUTS`, but ``mel_bins x frames`` log-mel features come first, frames an even number up to those of all
positions."""

EDGE_OUTPUTS = (("symbols", "float32", 2), ("sizes", "int64", 1), ("merge_map", "int64", 1), ("counts", "int64", 1))
"""Name, type and rank. ``N x 2 S`` real and imaginary parts in turn, ``N`` sizes, the row that each patch (of a clip,
each position) went into, and the tokens that leave each layer with all the class tokens that run; with `Merging.front`,
first those that leave the merge in front."""

CLOUD_INPUTS = (
    ("symbols", "float32"),
    ("noise_variance", "float32"),
    ("valid", "bool"),
    ("symbols_per_token", "int64"),
)
"""``frames x N x highest rate x 2`` real and imaginary parts, zero beyond a frame's rate and tokens; ``frames``;
``frames x N``, false for padding; ``frames``."""

PLAIN_INPUTS = (("pixels", "uint8"),)
"""``images x size x size x 3``."""

LOGITS = ("logits",)
"""``frames x classes``, or ``images x classes``."""
