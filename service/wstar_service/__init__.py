"""The wstar service: gRPC in front, graphs behind, nothing of the networks in between."""

import os

# ONNX Runtime reports to its maker unless told before it is imported: wstar calls nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
