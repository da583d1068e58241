"""Error of signed inputs in two's complement over that in sign-magnitude phases, at the fitted ADC step.

``python docs/signed_inputs.py`` prints the table of docs/physics.md in half a minute on one core.
"""

from __future__ import annotations

import torch
from torch import nn

from mapping import analog_network, calibrate, map_network, program_network
from xbar.hardware.design import Hardware
from xbar.hardware.files import load_hardware

KINDS = ("twos-complement", "sign-magnitude")


def error(hardware: Hardware, x: torch.Tensor, model: nn.Module) -> float:
    """Rms error of the outputs by the ADC alone over their rms [percent]."""
    outputs = []
    for bits in (hardware.adc.bits, 24):
        mapped = map_network(model, hardware.replace(adc__bits=bits), x)
        network = analog_network(model, program_network(calibrate(mapped, model, [(x, None)])[0]))
        outputs.append(network(x).double())
    y, exact = outputs
    return 100 * float((y - exact).square().mean().sqrt() / exact.square().mean().sqrt())


if __name__ == "__main__":
    torch.manual_seed(0)
    for name, x in (
        ("normal", torch.randn(600, 128)),
        ("Laplace", torch.distributions.Laplace(0.0, 1.0).sample((600, 128))),
        ("uniform", torch.rand(600, 128) * 2 - 1),
    ):
        model = nn.Sequential(nn.Linear(128, 32, bias=False))
        for bits in (4, 5, 6, 7, 8):
            base = load_hardware("admm-32x32").replace(
                crossbar__rows=128, crossbar__cols=32, adc__bits=bits, adc__per="column"
            )
            twos, sign = (error(base.replace(dac__signed=kind), x, model) for kind in KINDS)
            print(f"| {name} | {bits} | {twos:.2g} | {sign:.2g} | {twos / sign:.1f} |", flush=True)
