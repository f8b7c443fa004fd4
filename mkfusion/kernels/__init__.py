"""Kernels and their Gram matrices."""

__all__: list[str] = []
