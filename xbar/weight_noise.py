"""Programming noise in a forward pass of torch, for training and evaluation of noisy weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xbar.device import Device
from xbar.encoding import levels, slice_weights
from xbar.errors import XbarError
from xbar.hardware import Encoding
from xbar.noise import sigma


def noisy_weights(
    w: Tensor,
    scale: float,
    encoding: Encoding,
    device: Device,
    built: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weights as cells hold them after one more write, drawn anew at each call; same shape as `w`.

    Every cell of both planes is written as in `xbar.programming.program`, without stuck cells:
    g+ = g_min + max(w, 0)/scale unit and g- = g_min + max(-w, 0)/scale unit, split into base-L digits where
    there are several slices. The error is added to `w`, so that the gradient passes straight through.

    Parameters
    ----------
    w
        Weights on levels (with one slice, anything between them too), any shape.
    scale
        Weight of one `device.unit`.
    built
        True where there are devices, same shape as `w`; None: everywhere. In an unformed encoding, a weight
        of 0 has no devices either. No device has no noise.
    generator
        Where draws come from; None: torch's default generator.

    Raises
    ------
    XbarError
        For a scale that is not positive, weights beyond the largest level, an encoding that is not
        differential, or a device with write-verify.
    """
    if encoding.kind != "differential":
        raise XbarError(
            f"encoding.kind = {encoding.kind!r}: noise in a forward pass is there for 'differential' only"
        )
    if device.programming.verify is not None:
        raise XbarError("programming.verify: noise in a forward pass is that of a single write; leave it out")
    if not (math.isfinite(scale) and scale > 0):
        raise XbarError(f"encoding scale = {scale}: must be a positive number")
    level = w.detach() / scale
    top = float(levels(encoding, device)[-1])
    if level.numel() and not float(level.abs().max()) <= top * (1 + 1e-5):
        raise XbarError(
            f"weights up to {float(w.detach().abs().max()):g}: the largest level is {top * scale:g} "
            f"({top:g} times scale = {scale:g})"
        )
    target = device.g_min + device.unit * _digits(level, encoding, device)
    xi = torch.randn(target.shape, generator=generator, dtype=w.dtype, device=w.device)
    error = (_noisy(target, xi, device) - target) / device.unit
    places = torch.as_tensor(slice_weights(encoding, device), dtype=w.dtype, device=w.device)
    change: Tensor = scale * torch.tensordot(places, error[0] - error[1], dims=1)
    if built is not None:
        change = change * built
    if encoding.unformed:
        change = change * (w.detach() != 0)
    return w + change


def _digits(level: Tensor, encoding: Encoding, device: Device) -> Tensor:
    """Base-L digit of each cell, shape (2, slices, *level.shape): planes (+, -)."""
    planes = torch.stack([level.clamp(min=0), (-level).clamp(min=0)])
    if encoding.slices == 1:
        return planes.unsqueeze(1)
    number = planes.round().long()
    base = device.n_states
    digits = [number // base**i % base for i in range(encoding.slices - 1, -1, -1)]
    return torch.stack(digits, dim=1).to(level.dtype)


def _noisy(g: Tensor, xi: Tensor, device: Device) -> Tensor:
    """`xbar.noise.written` for tensors."""
    noise = device.programming
    if noise.kind == "lognormal":
        return g * torch.exp(noise.sigma * xi - (noise.sigma**2 / 2 if noise.keep_mean else 0.0))
    spread = torch.from_numpy(sigma(g.detach().cpu().numpy(), device)).to(g)
    return (g + spread * xi).clamp(min=0)
