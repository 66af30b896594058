"""The wstar service: gRPC in front, graphs behind, nothing of the networks in between."""
