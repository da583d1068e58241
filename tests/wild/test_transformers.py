"""Networks of transformers, small, with random weights: every product is counted, and the same on tiles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import design, holding
from packages import needed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mapping import (
    MappedNetwork,
    analog_network,
    calibrate,
    crossbar_form,
    map_network,
    program_network,
)

pytestmark = pytest.mark.slow

WORDS = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def gpt2() -> nn.Module:
    t = needed("transformers")
    sizes = {"n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return t.GPT2LMHeadModel(t.GPT2Config(**WORDS, **sizes, attn_implementation="eager"))


def bert() -> nn.Module:
    t = needed("transformers")
    return t.BertModel(t.BertConfig(vocab_size=60, **SMALL, attn_implementation="eager"))


def vit() -> nn.Module:
    t = needed("transformers")
    sizes = {"image_size": 16, "patch_size": 4}
    return t.ViTForImageClassification(t.ViTConfig(**SMALL, **sizes, attn_implementation="eager"))


def mixtral(experts: str) -> nn.Module:
    t = needed("transformers")
    sizes = {"num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2}
    config = t.MixtralConfig(**WORDS, **SMALL, **sizes, attn_implementation="eager")
    config._experts_implementation = experts
    return t.MixtralForCausalLM(config)


def tokens() -> Tensor:
    return torch.randint(3, 60, (2, 8))


def images() -> Tensor:
    return torch.rand(2, 3, 16, 16)


def mapped_and_counted(model: nn.Module, x: Tensor) -> tuple[nn.Module, MappedNetwork, int]:
    """The form, its mapping, and torch's own count of multiply-accumulates an image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x)
    form = crossbar_form(model, x)
    return form, map_network(form, design(64, 64, 256), x), counter.get_total_flops() // 2 // len(x)


def main_output(y: object) -> Tensor:
    return next(iter(y.values()))


@pytest.mark.parametrize(("build", "batch"), [(gpt2, tokens), (bert, tokens), (vit, images)])
def test_all_products_with_weights_are_on_tiles(
    build: Callable[[], nn.Module], batch: Callable[[], Tensor]
) -> None:
    """GPT-2 had 19,200 of 332,544 multiply-accumulates mapped: its Conv1D was no layer."""
    model, x = build(), batch()
    form, mapped, counted = mapped_and_counted(model, x)
    assert mapped.macs + sum(mapped.digital_macs.values()) == counted
    assert mapped.digital_macs.keys() == {"bmm"}  # queries with keys, and weights with values
    assert mapped.digital_unknown == {}
    torch.testing.assert_close(main_output(form(x)), main_output(model(x)))
    held = holding(form, mapped)
    mapped, _ = calibrate(mapped, held, [(x, x)])
    y = main_output(analog_network(held, program_network(mapped))(x))
    torch.testing.assert_close(y, main_output(held(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("experts", ["eager", "batched_mm", "grouped_mm"])
def test_experts_stay_digital_and_are_counted(experts: str) -> None:
    """Each of 8 tokens goes to 2 experts, with 32 x 128 and 64 x 32 weights, in 2 layers."""
    _, mapped, counted = mapped_and_counted(mixtral(experts), tokens())
    of_experts, router = 8 * 2 * (32 * 128 + 64 * 32) * 2, 8 * 32 * 4 * 2
    digital = dict(mapped.digital_macs)
    digital.pop("mul", None)  # angles of rotary embeddings, which torch does not count
    known = 0 if experts == "grouped_mm" else of_experts  # torch does not count grouped products
    assert mapped.macs + sum(digital.values()) - of_experts + known == counted
    assert digital["mm"] >= router
    assert mapped.digital_unknown == {}
    assert mapped.macs_share < 0.25
