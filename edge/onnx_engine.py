"""The edge engine on ONNX Runtime: one image or clip, from pixels or features to symbols, without torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.engine import EdgeCost, Encoded, check_features, check_finite, check_policy, token_limits
from policies.policy import Policy
from thinwire.bundle import Bundle
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.exports import EDGE, EDGE_INPUTS, EDGE_OUTPUTS, SPEECH_INPUTS
from thinwire.macs import LayerMacs
from thinwire.onnx_session import OnnxSession


class OnnxEngine:
    """Runs a bundle's `edge.onnx`; see `edge.engine.Engine`.

    Args:
        bundle: says how.
        session: of its export.

    Raises:
        BundleError: the export is no edge of this bundle.
    """

    def __init__(self, bundle: Bundle, session: OnnxSession) -> None:
        self.bundle = bundle
        self._session = session
        takes = SPEECH_INPUTS if SPEECH_INPUTS[0][0] in session.shapes else EDGE_INPUTS
        session.check(takes, [name for name, _, _ in EDGE_OUTPUTS])
        self._name = takes[0][0]
        self.mel_bins = int(session.shapes[self._name][0]) if takes is SPEECH_INPUTS else None
        try:
            cost = session.metadata["cost"]
            layers = tuple(LayerMacs(*layer) for layer in cost["layers"])
            patches = None if self.mel_bins is None else bundle.patches
            self.cost = EdgeCost(**cost | {"layers": layers, "merging": bundle.merging, "patches": patches})
            self.least_tokens = int(session.metadata["least_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"bundle {bundle.name}: {EDGE} does not state its cost: {error}") from None
        if len(layers) != bundle.split_layer:
            raise BundleError(f"bundle {bundle.name}: {EDGE} has {len(layers)} layers, its split {bundle.split_layer}")

    @classmethod
    def load(cls, bundle: Bundle, threads: int = 1) -> "OnnxEngine":
        """The engine of a bundle that has been exported.

        Args:
            threads: that one image or clip is computed by.

        Raises:
            BundleError: the bundle has no export, or one that does not fit it.
        """
        return cls(bundle, OnnxSession.load(bundle, EDGE, threads))

    def encode(
        self, inputs: NDArray[Any], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        """Turn one image or clip into symbols; see `edge.engine.Engine.encode`.

        Raises:
            EngineError: the graph cannot be run.
        """
        check_policy(policy, self.bundle)
        self._check(inputs)
        prefix, rate = self.bundle.prefix_tokens, policy.symbols_per_token
        present = prefix + self.bundle.patches
        wanted, most = token_limits(present, self.least_tokens, policy.max_tokens, rate, max_channel_uses)
        symbols, sizes, merge_map, counts = self._session.run(
            {
                self._name: inputs,
                "thresholds": np.array(policy.thresholds, dtype=np.float32),
                "symbols_per_token": np.array([rate], dtype=np.int64),
                "snr_db": np.array([snr_db], dtype=np.float32),
                "max_tokens": np.array([most], dtype=np.int64),
            }
        )
        check_finite(symbols)
        tokens = len(sizes)
        if tokens == prefix:
            # Only class tokens are sent.
            merge_map = np.full_like(merge_map, -1)
        patches = [len(merge_map), *(int(count) - self.cost.prefix for count in counts)]
        merged = [threshold < 1 for threshold in policy.thresholds]
        return Encoded(
            symbols=symbols.view(np.complex64),
            merge_map=merge_map,
            sizes=sizes,
            tokens_per_layer=tuple(count + prefix for count in patches[1:]),
            capped=tokens < min(patches[-1] + prefix, wanted),
            edge_gmacs=self.cost.macs(patches, merged, tokens - prefix) / 1e9,
        )

    def _check(self, inputs: NDArray[Any]) -> None:
        if self.mel_bins is not None:
            check_features(inputs, self.mel_bins, self.bundle.patches)
            return
        size = self.bundle.preprocessing.size
        if inputs.shape != (size, size, 3) or inputs.dtype != np.uint8:
            raise InvalidRequestError(f"expected {size} x {size} x 3 uint8 pixels, got {inputs.shape} {inputs.dtype}")
