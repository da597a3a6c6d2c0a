"""Accuracy of the JSCC pair without merging, over rates, SNRs and channels.

``python -m experiments.speed.codec --data TAR`` measures every rate of the bundle on every SNR, AWGN and Rayleigh block
fading, with the same images and the same keyed noise, and the model without codec and channel beside it.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from deploy.cli.common import table
from experiments.speed.arguments import load_asked, parser_for
from offline.measure.evaluator import Evaluator
from policies.record import ChannelProfile

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
CHANNELS = ("awgn", "rayleigh")


def run(evaluator: Evaluator, seed: int) -> dict[str, Any]:
    """Measure all of it.

    Returns:
        ``without_channel`` accuracy, its standard error ``se`` and ``n``, and ``rows``: channel, rate, SNR, accuracy.
    """
    transformed = evaluator.transform([None] * evaluator.bundle.split_layer)
    plain = evaluator.measure(transformed, evaluator.bundle.codec.rates[0], None, seed)
    rows = []
    for channel in CHANNELS:
        for rate in evaluator.bundle.codec.rates:
            for snr_db in SNRS_DB:
                measured = evaluator.measure(transformed, rate, ChannelProfile(channel, snr_db), seed)
                rows.append({"channel": channel, "rate": rate, "snr_db": snr_db, "accuracy": measured.accuracy})
                print(rows[-1], file=sys.stderr)
    return {
        "without_channel": plain.accuracy,
        "se": plain.accuracy_se,
        "n": len(plain.right),
        "rows": rows,
    }


def as_text(result: dict[str, Any]) -> str:
    """One table per channel: a row per rate, a column per SNR, accuracy in per cent."""
    lines = [f"{100 * result['without_channel']:.1f} +- {100 * result['se']:.1f} % without codec and channel"]
    for channel in CHANNELS:
        rows = [row for row in result["rows"] if row["channel"] == channel]
        text = [
            {"symbols/token": str(rate)}
            | {f"{row['snr_db']:g} dB": f"{100 * row['accuracy']:.1f}" for row in rows if row["rate"] == rate}
            for rate in dict.fromkeys(row["rate"] for row in rows)
        ]
        lines += ["", channel, table(text)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = parser_for(__doc__)
    options = parser.parse_args(arguments)
    bundle, images = load_asked(options)
    result = run(Evaluator.load(bundle, images), options.seed)
    print(json.dumps(result, indent=2) if options.json else as_text(result))


if __name__ == "__main__":
    main()
