"""What the rooms of Thinwire share: the wire contract, errors, images, bundles and a few layers."""

import os

# ONNX Runtime 1.31.1 reports on its user unless told otherwise; the client of the Hugging Face hub says who asks in all
# its requests. Both look once, when they are loaded, and only this package and our commands load them, after this line.
# A value that the user has set stands.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    if not os.environ.get(_name):
        os.environ[_name] = "1"
