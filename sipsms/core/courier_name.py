"""The courier name of a carrier."""

from __future__ import annotations


def courier_name(carrier: str) -> str:
    return f"carrier:{carrier}"
