"""FLOPs against closed forms and loops that multiply and add by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from dkvb.backbones import BackboneSpec, load_backbone
from dkvb.errors import BadSetting
from dkvb.flops import Flops, backbone, coding, flops_of, linear_head, value_head

C, M, D_K, D_Z, V, N = 3, 17, 5, 13, 7, 11


def tiny() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)
    )


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# --- heads and codes ---


def test_a_linear_head_multiplies_and_adds_every_weight_once_each_way():
    assert linear_head(D_Z, V) == Flops(2 * (D_Z + 1) * V, 2 * (D_Z + 1) * V)


def test_a_value_head_adds_a_row_of_every_codebook_each_way():
    adds = 0
    for _ in range(C):
        for _ in range(V):
            adds += 1
    assert value_head(C, V) == Flops(adds, adds)


def test_codes_cost_a_projection_and_a_comparison_with_every_key_of_every_codebook():
    products = 0
    for _ in range(C):
        products += D_Z * D_K
        for _ in range(M):
            products += D_K
    assert coding(c=C, d_z=D_Z, d_k=D_K, m=M) == 2 * products


def test_counts_are_linear_in_the_items():
    assert linear_head(D_Z, V, items=N) == linear_head(D_Z, V) * N
    assert value_head(C, V, items=N) == value_head(C, V) * N
    assert coding(c=C, d_z=D_Z, d_k=D_K, m=M, items=N) == N * coding(c=C, d_z=D_Z, d_k=D_K, m=M)
    assert backbone(tiny(), (3, 19, 23), items=N) == N * backbone(tiny(), (3, 19, 23))


@pytest.mark.parametrize("m", [2, 17, 4096])
def test_the_pairs_that_no_item_fetches_cost_a_value_head_nothing(m):
    assert value_head(C, V, m=m, items=N) == value_head(C, V, items=N)


@pytest.mark.parametrize("grad", [True, False])
def test_a_fetch_from_a_real_table_counts_as_on_the_meta_device(grad):
    table = torch.randn(C * M, V, requires_grad=grad)
    pairs = torch.randint(M, (N, C)) + M * torch.arange(C)
    assert flops_of(lambda: embedding_bag(pairs, table, mode="mean")) == value_head(C, V, items=N).forward


def test_the_way_back_is_counted_while_autograd_really_takes_it():
    table = torch.randn(C * M, V, requires_grad=True)
    pairs = torch.randint(M, (N, C)) + M * torch.arange(C)
    logits = embedding_bag(pairs, table, mode="mean")
    assert flops_of(lambda: logits.backward(torch.ones(N, V))) == value_head(C, V, items=N).backward
    assert table.grad is not None
    assert flops_of(lambda: None) == 0


def test_an_embedding_that_needs_a_gradient_itself_would_cost_more_going_back():
    x, weights = torch.randn(N, D_Z + 1, requires_grad=True), torch.randn(D_Z + 1, V, requires_grad=True)
    whole = linear_head(D_Z, V, items=N)
    assert flops_of(lambda: (x @ weights).sum().backward()) == whole.forward + 2 * whole.backward


def test_costs_add_up_and_repeat():
    both = Flops(2, 3) + Flops(5, 7) * 11
    assert both == Flops(57, 80)
    assert both.total == 137


@pytest.mark.parametrize(
    "count",
    [
        lambda: linear_head(0, V),
        lambda: value_head(C, -1),
        lambda: coding(c=C, d_z=D_Z, d_k=D_K, m=0),
        lambda: backbone(tiny(), (3, 19, 23), items=0),
    ],
)
def test_sizes_that_cannot_be_are_refused(count):
    with pytest.raises(BadSetting, match="expected 1 or more"):
        count()


# --- backbones ---


def test_a_convolution_costs_its_window_at_every_place_of_its_output():
    products = 0
    for _ in range(0, 19, 2):
        for _ in range(0, 23, 2):
            products += 5 * 3 * 3 * 3
    assert backbone(tiny(), (3, 19, 23)) == 2 * products


def test_groups_divide_what_a_convolution_costs():
    module = nn.Conv2d(6, 6, 3, padding=1, groups=3)
    assert backbone(module, (6, 11, 13)) == 2 * 11 * 13 * 6 * 2 * 9


@pytest.mark.parametrize("training", [True, False])
def test_a_backbone_is_left_as_it_was(training):
    module = tiny().train(training)
    module[1].train(not training)
    weight, bias = module[0].weight, module[0].bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    weight.grad = torch.ones_like(weight)
    kept, flags = tensors_of(module), [part.training for part in module.modules()]
    rng, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    backbone(module, (3, 19, 23))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in module.state_dict().items())
    assert [part.training for part in module.modules()] == flags
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert bias.grad is None
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_a_backbone_that_fails_is_left_as_it_was():
    module = tiny().train()
    with pytest.raises(RuntimeError, match="channels"):
        backbone(module, (2, 19, 23))
    assert all(part.training for part in module.modules())
    assert torch.backends.mha.get_fastpath_enabled()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(14, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


class Fused(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        heads = tokens.view(len(tokens), 5, 2, 7).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)


def test_attention_is_counted_though_its_fast_kernels_are_unknown_to_the_counter():
    tokens, width, heads = 5, 14, 2
    attend = heads * 2 * (2 * tokens * tokens * (width // heads))
    assert backbone(Fused(), (tokens, width)) == attend
    assert backbone(Attention(), (tokens, width)) == attend + 2 * tokens * width * 4 * width


def test_a_loaded_backbone_is_counted_as_it_embeds():
    loaded = load_backbone(BackboneSpec(library="timm", name="resnet18", weights="random", image_size=64))
    kept = tensors_of(loaded.module)
    found = backbone(loaded.module, (3, 64, 64))
    # The network as published takes 1.8 G multiplications at 224 pixels.
    assert found == pytest.approx(2 * 1.814e9 * (64 / 224) ** 2, rel=0.01)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in loaded.module.state_dict().items())
    assert not loaded.module.training
