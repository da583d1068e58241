"""Time of LeNet-5 on programmed tiles against the same network in plain torch (NCHW), 1,000 images."""

from __future__ import annotations

from typing import Any

import torch
from timing import each_thread_count, record

from experiments.inputs.networks import build_network
from mapping import analog_network, calibrate, map_network, program_network
from xbar import Drift, Hardware, LogClamp, LowFrequencyNoise, ProgrammingNoise, WhiteNoise, load_hardware

IMAGES = 1000
THREADS = (1, 2)


def designs() -> dict[str, Hardware]:
    """Hardware by the name of its row."""
    papers = load_hardware("admm-32x32")
    noisy = papers.replace(
        device__programming=ProgrammingNoise("lognormal", 0.05),
        device__drift=Drift(20.0, LogClamp(0.05), LogClamp(0.01)),
        device__low_frequency=LowFrequencyNoise("power", 0.01, 250e-9),
        device__read_noise=WhiteNoise(0.02),
        device__p_stuck_g_max=0.001,
        device__p_stuck_g_min=0.001,
    )
    large = noisy.replace(crossbar__rows=128, crossbar__cols=128, adc__bits=8)
    one = large.replace(dac__phase_bits=8)
    quiet = papers.replace(crossbar__rows=128, crossbar__cols=128, adc__bits=8, dac__phase_bits=8)
    return {
        "128 x 128 tiles, one phase of 8 bits, 8-bit ADC, all noise": one,
        "128 x 128 tiles, one phase of 8 bits, 8-bit ADC, all noise, 2 ohm wires": one.replace(
            crossbar__r_wl=2.0, crossbar__r_bl=2.0
        ),
        "128 x 128 tiles, one phase of 8 bits, 8-bit ADC, no noise": quiet,
        "128 x 128 tiles, 8 one-bit phases, 8-bit ADC at each, all noise": large,
        "32 x 32 tiles, 8 one-bit phases, 9-bit ADC at each, all noise": noisy,
    }


@torch.no_grad()
def rows(repeats: int = 5) -> list[dict[str, Any]]:
    """One record a design and number of threads; programming is not in the time."""
    torch.manual_seed(0)
    model = build_network("lenet5").eval()
    x = torch.rand(IMAGES, 1, 28, 28)
    records = []
    for name, hardware in designs().items():
        mapped, _ = calibrate(map_network(model, hardware, x[:1]), model, [(x[:100], None)])
        network = analog_network(model, program_network(mapped))
        for threads in each_thread_count(network, THREADS):
            records.append(
                record(
                    f"LeNet-5, {name}, {IMAGES} images",
                    lambda network=network: network(x),
                    "the network in plain torch",
                    lambda: model(x),
                    threads=threads,
                    repeats=repeats,
                    baseline_threads=threads,
                )
            )
            if threads == 1 and "wires" not in name:
                records.append(one_by_one(name, model, network, x[:50], repeats))
    return records


def one_by_one(
    name: str, model: torch.nn.Module, network: torch.nn.Module, x: torch.Tensor, repeats: int
) -> dict[str, Any]:
    """Record of images that come one at a time, on one thread."""
    return record(
        f"LeNet-5, {name}, {len(x)} images one at a time",
        lambda: [network(image[None]) for image in x],
        "the network in plain torch, too",
        lambda: [model(image[None]) for image in x],
        threads=1,
        repeats=repeats,
    )
