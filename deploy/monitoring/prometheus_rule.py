"""Prints `rules.yaml` as the PrometheusRule that the Prometheus operator reads.

python -m deploy.monitoring.prometheus_rule | kubectl apply --filename -
"""

from __future__ import annotations

from pathlib import Path

_RULES = Path(__file__).with_name("rules.yaml")
_HEAD = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: wstar
  namespace: monitoring
spec:
"""


def prometheus_rule() -> str:
    """The object, its comments too."""
    lines = _RULES.read_text(encoding="utf-8").splitlines()
    return _HEAD + "".join(f"  {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    print(prometheus_rule(), end="")
