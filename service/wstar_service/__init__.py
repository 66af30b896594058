"""The wstar service: gRPC in front, graphs behind, nothing of the networks in between."""

import os

# ONNX Runtime reports to its maker unless told before it is imported: wstar calls nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Unless told before it is imported, gRPC writes a line of its own, no JSON, per failed handshake.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
