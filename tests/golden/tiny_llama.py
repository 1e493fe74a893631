"""A tiny random LLaMA with outliers in some channels, as real models have them."""

import torch

from golden.language_model import LanguageModel

VOCABULARY = 96


def tiny_llama(seed=0, outlier=8.0):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.15,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
        tie_word_embeddings=True,
    )
    network = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for layer in network.model.layers:
            layer.input_layernorm.weight[3] = outlier
            layer.self_attn.q_proj.weight *= 0.2  # else one key takes it all
            layer.mlp.up_proj.weight[5] *= outlier
    return LanguageModel("tiny", network, None)


def tiny_tokens(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (1, count), generator=generator)
