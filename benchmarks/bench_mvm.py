"""Time of the analog matrix-vector multiply on programmed tiles, against plain numpy float32 products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import record, seconds
from torch import nn

from mapping import calibrate, map_network, program_network
from mapping.chips.codes import quantise_inputs
from mapping.chips.columns import blocks
from xbar import Device, Hardware, ProgrammingNoise, WhiteNoise
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Crossbar
from xbar.multiply.converters import drive
from xbar.multiply.mvm import mvm

THREADS = (1, 2)
NOISY = Device(
    "16 states, programming 5 %, read 2 %",
    "benchmark",
    1e-6,
    16e-6,
    16,
    ProgrammingNoise("gaussian", 0.05),
    read_noise=WhiteNoise(0.02),
)
QUIET = Device("16 states, no noise", "benchmark", 1e-6, 16e-6, 16)


def hardware(device: Device, phase_bits: int, adc_bits: Any = 8) -> Hardware:
    """128 x 128 tiles, pairs subtracted in analog, inputs of 8 bits."""
    return Hardware(
        "benchmark", device, crossbar=Crossbar(128, 128), dac=Dac(8, phase_bits=phase_bits), adc=Adc(adc_bits)
    )


def layer(design: Hardware, size: int, batch: int, mask: Any = None) -> tuple[Callable[[int], Any], Any, Any]:
    """The multiply as a call with the number of threads, the weights (size, size), the inputs as float32."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(size, size, bias=False)).eval()
    x = torch.rand(batch, size)
    masks = {} if mask is None else {"0": mask}
    mapped, _ = calibrate(map_network(model, design, x[:1], masks=masks), model, [(x, None)])
    calibration = mapped.layers["0"].calibration
    codes = quantise_inputs(x.numpy(), calibration, design.dac)
    columns = blocks(program_network(mapped), "0")
    driven = drive(design, calibration.signed)

    def call(threads: int) -> Any:
        return mvm(codes, columns, size, drive=driven, threads=threads)

    return call, model[0].weight.detach().t().contiguous().numpy(), x.numpy()


CASES: tuple[tuple[str, Device, int, Any], ...] = (
    ("one phase, 8-bit ADC, programming and read noise", NOISY, 8, 8),
    ("8 one-bit phases, 8-bit ADC at each, programming and read noise", NOISY, 1, 8),
    ("8 one-bit phases, 8-bit ADC at each, no noise", QUIET, 1, 8),
    ("8-bit inputs, ideal ADC, no noise", QUIET, 1, "ideal"),
)


def rows(repeats: int = 60) -> list[dict[str, Any]]:
    """One record a case, batch and number of threads."""
    records = []
    for name, device, phase_bits, adc_bits in CASES:
        design = hardware(device, phase_bits, adc_bits)
        products = design.dac.phases if adc_bits != "ideal" else 1
        for batch in (256, 4096):
            call, weights, x = layer(design, 256, batch)
            result = np.empty_like(x)

            def baseline(x: Any = x, w: Any = weights, out: Any = result, n: int = products) -> None:
                for _ in range(n):
                    np.matmul(x, w, out=out)

            for threads in THREADS:
                records.append(
                    record(
                        f"{name}, 256 x 256 in tiles of 128, batch {batch}",
                        lambda call=call, threads=threads: call(threads),
                        f"{products} numpy float32 product{'s' if products > 1 else ''}",
                        baseline,
                        threads=threads,
                        repeats=repeats,
                    )
                )
    return records + removed_tiles(repeats)


def removed_tiles(repeats: int) -> list[dict[str, Any]]:
    """Layers of 1280 x 1280 (100 tiles) of which 50 and 90 tiles are removed, against the whole layer."""
    design = hardware(NOISY, 1)
    whole, _, _ = layer(design, 1280, 256)
    order = np.random.default_rng(0).permutation(100)
    records = []
    for removed in (50, 90):
        kept = np.isin(np.arange(100), order[removed:]).reshape(10, 10)
        mask = torch.from_numpy(np.kron(kept, np.ones((128, 128), bool)))
        call, _, _ = layer(design, 1280, 256, mask)
        records.append(
            record(
                f"{removed} % of the tiles removed, 1280 x 1280, 8 one-bit phases, batch 256",
                lambda call=call: call(1),
                "the whole layer",
                lambda: whole(1),
                threads=1,
                repeats=max(3, repeats // 6),
            )
        )
    return records


def first_calls() -> list[tuple[str, float]]:
    """Seconds of each case's first multiply: compilation, or loading from numba's cache."""
    calls = []
    for name, device, phase_bits, adc_bits in CASES:
        call, _, _ = layer(hardware(device, phase_bits, adc_bits), 256, 1)
        calls.append((name, seconds(lambda call=call: call(1))))
    return calls
