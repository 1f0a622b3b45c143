"""Packed or padded: the same loss and gradients with any language model; every family: tests/lvlm/families."""

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.modeling_flash_attention_utils import _is_packed_sequence, prepare_fa_kwargs_from_position_ids

from fusionscope.data import Collator, LlavaDataModule
from fusionscope.data.collate import IGNORE
from fusionscope.data.marked import Filling, Marked
from fusionscope.data.packing import Packing, pack, partition
from fusionscope.errors import ConfigError
from fusionscope.lvlm import LVLM, family_of, miniature, packed_rows
from fusionscope.sandbox.model import write
from fusionscope.stages.loss import summed_loss

LLAVA = family_of("llava")


def turns(*texts):
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def picture(colour, size=(32, 32)):
    return Image.new("RGB", size, colour)


ROWS = [
    {"image": picture((200, 9, 9)), "conversations": turns("<image>\nwhat ?", "red", "sure ?", "yes")},
    {"image": None, "conversations": turns("say yes", "yes")},
    {
        "image": [picture((9, 200, 9), (64, 32)), picture((9, 9, 200))],
        "conversations": turns("<image>\n<image>\nwhat ?", "green , blue"),
    },
    {"image": None, "conversations": turns("say nothing but no , " * 4, "no")},
    {"image": picture((9, 90, 90), (32, 64)), "conversations": turns("<image>\nwhat ?", "teal")},
]
IMAGES = [1, 0, 2, 0, 1]
MARKED = [Marked(row=row) for row in ROWS]
LAYOUTS = ([[0, 1, 2, 3, 4]], [[2, 1], [0, 4], [3]])


def learning(model, batch):
    model.zero_grad()
    loss, tokens = summed_loss(model, batch)
    loss.backward()
    gradients = {name: p.grad / tokens for name, p in model.named_parameters() if p.grad is not None}
    return (loss / tokens).item(), tokens.item(), gradients


def distance(one, other):
    """Of the gradients, as a fraction of the largest."""
    largest = max(value.abs().max().item() for value in one[2].values())
    return max((other[2][name] - value).abs().max().item() for name, value in one[2].items()) / largest


def check(model, padded, packed):
    expected, found = learning(model, padded), learning(model, packed)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1] == expected[1]
    assert found[2].keys() == expected[2].keys()
    assert distance(expected, found) < 1e-5


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("MistralConfig", {"sliding_window": 24}),
        ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}),
        ("Qwen3Config", {"head_dim": 12}),
    ],
)
def test_language_models_keep_samples_apart_also_behind_windows(text, settings):
    made, processor = miniature("llava")
    config = made.config
    config.text_config = getattr(transformers, text)(**shape(config.text_config), **settings)
    model = transformers.LlavaForConditionalGeneration(config)
    padded = Filling(Collator(processor, "chat", 4096, family=LLAVA))(MARKED)
    for layout in LAYOUTS:
        check(model, padded, pack(padded, layout, IMAGES, packed_rows(LVLM.wrap(model, processor).adapter)))


def shape(config):
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return {name: getattr(config, name) for name in (*names, "num_key_value_heads", "initializer_range")}


def test_flash_attention_gets_one_row_whose_borders_it_reads():
    model, processor = miniature("llava")
    adapter = LVLM.wrap(model, processor).adapter
    model.config.text_config._attn_implementation_internal = "flash_attention_2"
    collate = Filling(Collator(processor, "chat", 150, family=LLAVA))
    packed = Packing(collate, packed_rows(adapter), 150)(MARKED)
    lengths = collate(MARKED)["attention_mask"].sum(1)
    positions = packed["position_ids"]
    assert positions.shape == (1, int(lengths.sum()))
    assert _is_packed_sequence(positions, batch_size=1)
    borders = prepare_fa_kwargs_from_position_ids(positions)[0][0]
    assert borders.tolist() == [0, *lengths.cumsum(0).tolist()]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(50, 120))
def test_rows_hold_every_sample_once_and_cost_no_more_than_padding(lengths, widest):
    rows = partition(lengths, widest)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    width = max(sum(lengths[i] for i in row) for row in rows)
    assert width <= widest
    assert len(rows) * width <= len(lengths) * max(lengths)


def test_equal_samples_stay_apart_and_long_ones_are_not_joined():
    assert partition([30] * 4, 100) == [[0], [1], [2], [3]]
    assert partition([90, 90, 5, 5], 100) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("with_image", [True, False])
def test_labels_leave_out_each_first_token_and_what_stands_in(with_image):
    model, processor = miniature("llava")
    collate = Filling(Collator(processor, "chat", 4096, require_image=True, family=LLAVA))
    rows = [MARKED[0 if with_image else 1], Marked(row=ROWS[3], counts=False), MARKED[1]]
    packed = Packing(collate, packed_rows(LVLM.wrap(model, processor).adapter), 4096)(rows)
    firsts = packed["position_ids"] == 0
    assert int(firsts.sum()) >= len(rows)
    assert bool((packed["labels"][firsts] == IGNORE).all())
    assert packed["pixel_values"].shape[0] == 1  # the sample's, or a black one
    padded = collate(rows)
    check(model, padded, packed)


def test_what_nobody_has_shown_is_refused(tmp_path):
    model, processor = miniature("llava")
    adapter, text = LVLM.wrap(model, processor).adapter, model.config.text_config
    text._attn_implementation_internal = "flex_attention"
    with pytest.raises(ConfigError, match="attention='flex_attention'"):
        packed_rows(adapter)
    text._attn_implementation_internal = "sdpa"
    text.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ConfigError, match=r"'llava' over the language model 'llama' with layers of kind linear_att"):
        packed_rows(adapter)
    model.config.text_config = transformers.MambaConfig()
    with pytest.raises(ConfigError, match=r"(?s)over the language model 'mamba'.*recurrent"):
        packed_rows(adapter)
    with pytest.raises(ConfigError, match="packing without a stage"):
        LlavaDataModule(train=ROWS, packing=True, model=str(write(tmp_path, seed=0))).train_dataloader()


def test_an_input_that_no_family_names_is_refused():
    model, processor = miniature("llava")
    padded = Collator(processor, "chat", 4096, family=LLAVA)(ROWS) | {"novelty": torch.zeros(4, 2)}
    with pytest.raises(ConfigError, match=r"'novelty' of shape \(4, 2\)"):
        pack(padded, LAYOUTS[0], IMAGES, packed_rows(LVLM.wrap(model, processor).adapter))


def test_what_packing_saves_on_samples_of_mixed_length():
    """Three in five tokens that a padded batch of these computes are padding; packed, one in eight at the most."""
    lengths = [40, 300, 120, 60, 80, 200, 50, 90]
    rows = partition(lengths, 512)
    width = max(sum(lengths[i] for i in row) for row in rows)
    assert sum(lengths) / (len(lengths) * max(lengths)) < 0.4
    assert sum(lengths) / (len(rows) * width) > 7 / 8
