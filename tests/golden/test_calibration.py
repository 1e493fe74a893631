import pytest
import torch
from tiny_llama import tiny_llama, tiny_tokens

from golden.calibration import calibrate, inputs_of
from golden.special_functions.functions import interleave


@pytest.fixture(scope="module")
def tiny():
    return tiny_llama()


@pytest.fixture(scope="module")
def seen(tiny):
    return calibrate(tiny, tiny_tokens(50))


def test_inputs_of_all_linear_layers(tiny, seen):
    for path in tiny.linear_layers():
        inputs = tiny.inputs_of(path, tiny_tokens(50)).double()
        torch.testing.assert_close(seen.largest[inputs_of(path)], inputs.abs().amax(dim=0))
        torch.testing.assert_close(seen.norms[inputs_of(path)], inputs.norm(dim=0))


def test_outputs(tiny, seen):
    with torch.no_grad():
        given = tiny.network(tiny_tokens(50), output_hidden_states=True)
    assert seen.peak("logits") == pytest.approx(float(given.logits.abs().max()))
    first = given.hidden_states[1][0].abs().amax(dim=0).double()
    torch.testing.assert_close(seen.largest["layer 0 output"], first)


@pytest.mark.parametrize("name", ["queries", "keys"])
def test_queries_and_keys_are_rotated_as_the_model_does(tiny, seen, name):
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    module = tiny.network.model.layers[1].self_attn
    path = f"model.layers.1.self_attn.{name[0]}_proj"
    inputs = tiny.inputs_of(path, tiny_tokens(50))
    heads = (inputs @ tiny.weight(path).T).reshape(1, 50, -1, module.head_dim).transpose(1, 2)
    cos, sin = tiny.network.model.rotary_emb(heads, torch.arange(50)[None])
    rotated = apply_rotary_pos_emb(heads, heads, cos, sin)[0][0].double()
    largest = rotated.abs().amax(dim=1)[:, interleave(module.head_dim)].flatten()
    torch.testing.assert_close(seen.largest[f"layer 1 {name}"], largest, rtol=1e-4, atol=1e-5)
    norm = float(rotated.norm(dim=2).max())
    assert seen.head_norms[f"layer 1 {name}"] == pytest.approx(norm, rel=1e-5)


def test_no_hook_is_left():
    tiny = tiny_llama()

    def hooks():
        modules = list(tiny.network.modules())
        return sum(len(x._forward_hooks) + len(x._forward_pre_hooks) for x in modules)

    before = hooks()
    with pytest.raises(IndexError):
        calibrate(tiny, torch.full((1, 5), 10**6))
    assert hooks() == before
