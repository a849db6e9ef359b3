"""Decoding a token at a time agrees with the whole forward pass; costs are measured, and grow as they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from forescale.errors import ForescaleError
from forescale.sweep.pareto import Decoding, decoding_speed, step_memory, step_seconds
from forescale.train import Decoder, ModelOptions, TrainConfig, build_model
from forescale.workload import Experts, Shape

LENGTH, VOCAB = 12, 40
MODELS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"kv_heads": 2, "tied": True}, {"attention_scale": 0.3}),
    ({"kv_heads": 1, "qk_norm": "head"}, {"rope_base": 100.0}),
    ({"qk_norm": "full", "qkv_bias": True}, {"position": "alibi"}),
    ({"positions": LENGTH, "norm": "layer", "gated": False}, {"position": "learned"}),
    ({"experts": Experts(count=4, top_k=2, width=16, shared_width=8)}, {"position": "none"}),
    ({}, {"density": 0.5}),
]


def model_of(more: dict[str, Any], options: dict[str, Any], **sizes: int) -> Decoder:
    shape = Shape(**{"layers": 2, "width": 32, "heads": 4, "vocab": VOCAB} | sizes | more)
    model = build_model(shape, ModelOptions(**options), seq_len=LENGTH, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)  # so that attention is far from even
    return model.eval()


@pytest.mark.parametrize(("more", "options"), MODELS)
def test_a_token_at_a_time_is_the_whole_sequence(more: dict[str, Any], options: dict[str, Any]) -> None:
    model, tokens = (
        model_of(more, options),
        torch.randint(VOCAB, (3, LENGTH), generator=torch.Generator().manual_seed(0)),
    )
    decoding = Decoding(model, batch=3)
    logits = torch.stack([decoding.step(tokens[:, i]) for i in range(LENGTH)], 1)
    torch.testing.assert_close(logits, model(tokens).detach(), rtol=1e-4, atol=1e-4)


def test_a_position_off_by_one_is_noticed() -> None:
    model, tokens = model_of({}, {}), torch.arange(LENGTH)
    decoding = Decoding(model)
    decoding.step(tokens[:1])
    decoding.position = 0  # the fault: the second token overwrites the first
    logits = decoding.step(tokens[1:2])
    assert not torch.allclose(logits, model(tokens[None])[:, 1], atol=0.1)


def test_a_decoder_reads_no_more_than_it_was_made_for() -> None:
    model = model_of({}, {})
    decoding = Decoding(model)
    for _ in range(LENGTH):
        decoding.step(torch.zeros(1, dtype=torch.long))
    with pytest.raises(ForescaleError, match="seq_len 12"):
        decoding.step(torch.zeros(1, dtype=torch.long))
    with pytest.raises(ForescaleError, match="between 1 and"):
        decoding_speed(model, tokens=LENGTH + 1)


def test_more_layers_decode_more_slowly() -> None:
    shallow, deep = (decoding_speed(model_of({}, {}, layers=n), repeats=3) for n in (1, 12))
    assert shallow > 2 * deep  # about twelve times the operators


def config_of(**changes: Any) -> TrainConfig:
    shape = Shape(layers=1, width=32, heads=2, vocab=VOCAB)
    options = {"shape": shape, "seq_len": 16, "steps": 1, "batch_sequences": 4, "learning_rate": 1e-3, "threads": 1}
    return TrainConfig(**options | changes)


def test_larger_batches_take_longer() -> None:
    small, large = (step_seconds(config_of(batch_sequences=n), repeats=3) for n in (4, 256))
    assert large > 3 * small


def test_memory_of_a_step_on_a_cpu_by_hand() -> None:
    config = config_of(device="cpu")
    params = sum(part.params for part in config.shape.parts())
    activations = 4 * 16 * (4 * 34 * 1 * 32 + 12 * VOCAB)  # 34 numbers a token, layer and unit of width in fp32; logits
    assert step_memory(config) == 16 * params + activations
