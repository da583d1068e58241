"""How a convolution gathers its inputs: kernel, stride, padding and dilation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """How a convolution gathers its inputs, or a transposed one spreads its outputs; an entry a dimension.

    K order is (channel, kernel position); of a transposed one it is the channel alone, and N order is
    (channel, kernel position).

    Parameters
    ----------
    padding
        Places (before, after) that are added to the input, or, transposed, cut off the output.
    mode
        What is added: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    mode: str = "zeros"
    transposed: bool = False
