"""What every family goes through: the probe against the model's own forward pass, and training data.

A family's file of tests says what is expected of it in particular (`FamilyTester`), and adds what no other family has.
"""

from typing import Any, ClassVar

import pytest
import torch
import transformers
from PIL import Image
from transformers.processing_utils import VideosKwargs

from fusionscope import plugins
from fusionscope.data import Collator
from fusionscope.data.marked import Filling, Marked
from fusionscope.data.packing import pack
from fusionscope.errors import ConfigError, InputError
from fusionscope.lvlm import (
    LVLM,
    ComposedProcessor,
    FeatureCache,
    family_of,
    miniature,
    packed_rows,
    parameters_by_part,
    register,
)
from fusionscope.probe import Execution, ProbeSpec, posteriors, probe
from fusionscope.probe.engine.runner import expanded
from fusionscope.stages.loss import summed_loss, tokens_seen

ANSWERS = ("yes", "no")


def turns(*texts):
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def plain_image(colour, size=(32, 32)):
    return Image.new("RGB", size, colour)


def row(name, images, *texts):
    return {"id": name, "image": images or None, "conversations": turns(*texts)}


ROWS = [
    row("two turns", [plain_image((200, 9, 9), (64, 32))], "<image>\nwhat is it ?", "red", "sure ?", "yes"),
    row("text", [], "say yes", "yes"),
    row(
        "two images",
        [plain_image((9, 200, 9), (64, 32)), plain_image((9, 9, 200))],
        "<image>\n<image>\nwhat ?",
        "green",
    ),
    row("image in the second turn", [plain_image((9, 90, 90), (32, 64))], "say no", "no", "what ? <image>", "teal"),
]
MIXED = [
    row("image", [plain_image((200, 9, 9))], "<image>\nwhat ?", "red", "sure ?", "yes"),
    row("text", [], "say yes", "yes"),
    row(
        "images",
        [plain_image((9, 200, 9), (64, 32)), plain_image((9, 9, 200))],
        "<image>\n<image>\nwhat ?",
        "green , blue",
    ),
    row("long", [], "say nothing but no , " * 4, "no"),
    row("tall", [plain_image((9, 90, 90), (32, 64))], "<image>\nwhat ?", "teal"),
]
N_IMAGES = [1, 0, 2, 0, 1]
LAYOUTS = ([[0, 1, 2, 3, 4]], [[2, 1], [0, 4], [3]])


def forget_families():
    """Look for families, and for entry points, once more."""
    plugins.entries_of.cache_clear()
    register.known_families.cache_clear()


def said(sample):
    return [turn["value"] for turn in sample["conversations"] if turn["from"] == "gpt"]


def learning(model, batch):
    """Mean loss, supervised tokens and gradients."""
    model.zero_grad()
    loss, tokens = summed_loss(model, batch)
    loss.backward()
    gradients = {name: p.grad / tokens for name, p in model.named_parameters() if p.grad is not None}
    return (loss / tokens).item(), tokens.item(), gradients


def distance(expected, other):
    """Of the gradients, as a fraction of the largest."""
    largest = max(value.abs().max().item() for value in expected[2].values())
    return max((other[2][name] - value).abs().max().item() for name, value in expected[2].items()) / largest


def check_equal_training(model, padded, packed):
    expected, other = learning(model, padded), learning(model, packed)
    assert other[0] == pytest.approx(expected[0], rel=1e-5)
    assert other[1] == expected[1]
    assert other[2].keys() == expected[2].keys()
    assert distance(expected, other) < 1e-5


class NoVideos:
    valid_kwargs = VideosKwargs
    model_input_names: tuple[str, ...] = ()
    unused_input_names: tuple[str, ...] = ()


class FamilyTester:
    """Tests of one family; a subclass fills in what is expected of it."""

    model_type: ClassVar[str]
    answer: ClassVar[tuple[str, str]]
    """What the supervised text of an answer begins and ends with, besides the answer."""
    processor_class: ClassVar[str] = ""
    """transformers' processor, where the miniature has only its parts."""
    processor_settings: ClassVar[dict[str, Any]] = {}
    has_videos: ClassVar[bool] = False
    has_template: ClassVar[bool] = True
    named_tokens: ClassVar[dict[str, str]] = {}
    """Tokens that the processor asks its tokenizer for by name."""
    end: ClassVar[str] = ""
    """The end token, where the tokenizer of the miniature has none and the family's answers end with it."""
    start: ClassVar[str] = ""
    """The start token, where it is not the tokenizer's own."""
    has_start: ClassVar[bool] = True
    """Whether a sequence begins with a start token."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Outputs of the adapter's `process` that the model's forward does not take."""
    packing_refused: ClassVar[str] = ""
    """Why packing is refused; where this is empty it is tested."""
    depends_on_company: ClassVar[bool] = False
    """A sample's loss depends on how many images the others of its batch have."""

    @pytest.fixture(scope="class")
    @classmethod
    def lvlm(cls):
        return LVLM.wrap(*miniature(cls.model_type))

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, lvlm, task):
        return posteriors(lvlm, task)

    @pytest.fixture
    def processor(self, any_processor):
        return self.whole_processor()

    def whole_processor(self):
        parts = miniature(self.model_type)[1]
        if not self.processor_class:
            return parts
        settings = dict(self.processor_settings)
        if self.has_videos:
            settings["video_processor"] = NoVideos()
        if self.has_template:
            settings["chat_template"] = parts.chat_template
        if parts.qformer_tokenizer is not None:
            settings["qformer_tokenizer"] = parts.qformer_tokenizer
        if self.end:
            parts.tokenizer.eos_token = self.end
        parts.image_processor.image_seq_length = 16
        for name, text in self.named_tokens.items():
            setattr(parts.tokenizer, f"{name}_token", text)
            setattr(parts.tokenizer, f"{name}_token_id", parts.tokenizer.convert_tokens_to_ids(text))
        kind = getattr(transformers, self.processor_class)
        return kind(image_processor=parts.image_processor, tokenizer=parts.tokenizer, **settings)

    def collator(self, processor, template="chat", max_length=4096, **settings):
        return Collator(processor, template, max_length, family=family_of(self.model_type), **settings)

    def further_inputs(self, lvlm, ids, rendered):
        """Inputs of the model's forward pass besides ids and pixels."""
        return {}

    def own_pixels(self, pixels):
        return pixels

    def own_inputs(self, lvlm, image, text):
        """Inputs of the model's forward pass, made by its processor where that can be built without torchvision."""
        rendered = lvlm.adapter.chat.render(text)
        if not isinstance(lvlm.processor, ComposedProcessor):
            opened = rendered + lvlm.adapter.chat.joint(ANSWERS[0])
            special = not opened.startswith(lvlm.tokenizer.bos_token)
            return dict(lvlm.processor(images=image, text=opened, add_special_tokens=special, return_tensors="pt"))
        pixels = self.own_pixels(lvlm.adapter.process([image])[0])
        features = lvlm.encode_images([image])[0]
        ids = torch.tensor([expanded(lvlm.prompt(text, ANSWERS).ids, lvlm.adapter.expand(features))])
        read = {name: value for name, value in pixels.items() if name not in self.unread}
        return {"input_ids": ids, **self.further_inputs(lvlm, ids, rendered), **read}

    def test_the_miniature_is_of_the_family(self, lvlm):
        assert lvlm.model.config.model_type == self.model_type
        assert self.model_type in lvlm.family.model_types

    def test_the_last_layer_is_the_models_own_answer(self, lvlm, expected, task):
        for a, image in enumerate(task.images):
            for b, question in enumerate(task.questions):
                prompt = lvlm.prompt(question.text, ANSWERS)
                tokens = [tail[0] for tail in prompt.candidates]
                if len(prompt.candidates[0]) > 1 or len(prompt.candidates[1]) > 1:
                    pytest.fail(f"candidates {prompt.candidates} are not single tokens")
                with torch.no_grad():
                    logits = lvlm.model(**self.own_inputs(lvlm, image, question.text)).logits[0, -1]
                wanted = logits[tokens].double().softmax(-1)
                torch.testing.assert_close(expected.conditionals[-1, a, b], wanted, atol=1e-5, rtol=0)
                mass = logits.double().softmax(-1)[tokens].sum()
                torch.testing.assert_close(expected.mass[-1, a, b], mass, atol=1e-5, rtol=0)

    def test_it_sees_the_image(self, expected):
        p = expected.conditionals[-1]
        assert (p[0] - p[2]).abs().max() > 1e-4, "same size, other pixels"
        assert (p[:, 0] - p[:, 1]).abs().max() > 1e-4

    @pytest.mark.parametrize(
        "settings",
        [
            {"batch_size": 1},
            {"batch_size": 2},
            {"batch_size": 7, "padding_side": "left"},
            {"share_prefix": False},
            {"share_prefix": False, "padding_side": "left"},
            {"feature_cache": True},
        ],
        ids=str,
    )
    def test_how_it_is_run_changes_nothing(self, lvlm, expected, task, settings):
        if "feature_cache" in settings:
            settings = {"feature_cache": FeatureCache()}
            posteriors(lvlm, task, execution=Execution(**settings))
        other = posteriors(lvlm, task, execution=Execution(**settings))
        torch.testing.assert_close(other.conditionals, expected.conditionals, atol=1e-5, rtol=0)
        torch.testing.assert_close(other.mass, expected.mass, atol=1e-5, rtol=0)
        if "feature_cache" in settings:
            assert settings["feature_cache"].hits == 3

    def test_whole_candidates_agree_with_single_tokens(self, lvlm, expected, task):
        other = posteriors(lvlm, task, ProbeSpec(scoring="sequence", layers="last"))
        torch.testing.assert_close(other.conditionals[0], expected.conditionals[-1], atol=1e-5, rtol=0)

    def test_the_model_is_left_as_it_was(self, lvlm, task):
        model = lvlm.model
        before = (
            {name: value.clone() for name, value in model.state_dict().items()},
            [(m.training, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
            getattr(model.model, "rope_deltas", None) if hasattr(model, "model") else None,
            torch.get_rng_state(),
        )
        results = probe(lvlm, task, ProbeSpec(layers="last", standard_errors=False))
        assert results[0].pid.converged
        assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
        assert [
            (m.training, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()
        ] == before[1]
        if before[2] is not None:
            assert torch.equal(model.model.rope_deltas, before[2])
        assert torch.equal(torch.get_rng_state(), before[3])

    @pytest.mark.parametrize("mask", ["noise", "remove"])
    def test_masking_works_or_says_why_not(self, lvlm, expected, task, mask):
        spec = ProbeSpec(design="masked", layers="last", design_options={"mask": mask})
        if lvlm.adapter.image_reads_question and mask == "noise":
            with pytest.raises(InputError, match=r"depend on the question"):
                posteriors(lvlm, task, spec)
            return
        masked = posteriors(lvlm, task, spec)
        torch.testing.assert_close(masked.joint[0], expected.conditionals[-1].flatten(0, 1), atol=1e-5, rtol=0)
        assert (masked.joint - masked.language).abs().max() > 1e-4
        if mask == "remove":
            assert (masked.language[0, 0] - masked.language[0, 2]).abs().max() < 1e-6, "no image left"

    def test_a_saved_model_loads_and_answers_the_same(self, lvlm, expected, task, tmp_path):
        lvlm.model.save_pretrained(tmp_path)
        lvlm.processor.save_pretrained(tmp_path)
        again = posteriors(LVLM.from_pretrained(str(tmp_path)), task, ProbeSpec(layers="last"))
        torch.testing.assert_close(again.conditionals[0], expected.conditionals[-1], atol=1e-5, rtol=0)

    @pytest.mark.filterwarnings("ignore:samples with:UserWarning")
    def test_assistant_text_alone_is_supervised_in_any_company(self, processor):
        model = miniature(self.model_type)[0]
        collate = self.collator(processor)
        batch = collate(ROWS)
        supervised = [processor.tokenizer.decode(ids[ids != -100]) for ids in batch["labels"]]
        before, end = self.answer
        assert supervised == ["".join(f"{before}{text}{end}" for text in said(sample)) for sample in ROWS]
        loss, tokens = summed_loss(model.train(), batch)
        loss.backward()
        assert (loss / tokens).isfinite()
        for part, parameters in parameters_by_part(model).items():
            gradients = [p.grad.abs().max().item() for p in parameters.values() if p.grad is not None]
            assert not parameters or 0 < max(gradients) < float("inf"), part
        company = [ROWS[0], ROWS[3]] if self.depends_on_company else ROWS
        with torch.no_grad():
            together = torch.tensor(summed_loss(model.eval(), collate(company)))
            text_first = torch.tensor(summed_loss(model, collate(company[1:] + company[:1])))
            alone = torch.tensor([summed_loss(model, collate([sample])) for sample in company]).sum(0)
        assert text_first.tolist() == pytest.approx(together.tolist(), rel=1e-5)
        assert together[1] == alone[1]
        assert (together[0] / together[1]).item() == pytest.approx((alone[0] / alone[1]).item(), abs=1e-5)

    @pytest.mark.parametrize("template", ["v1", "plain"])
    def test_other_templates_fit_too(self, template, processor):
        processor.tokenizer.eos_token = end = "<pad>"
        image = [plain_image((9, 90, 90))]
        rows = [row("a", image, "<image>\nwhat ?", "red"), row("b", image, "<image>", "blue")]
        batch = self.collator(processor, template)(rows)
        supervised = [processor.tokenizer.decode(ids[ids != -100]).strip() for ids in batch["labels"]]
        assert supervised == (["red", "blue"] if template == "plain" else [f"red{end}", f"blue{end}"])
        start = self.start or processor.tokenizer.bos_token
        assert (start is not None) == self.has_start
        if self.has_start:
            written = batch["input_ids"] == processor.tokenizer.convert_tokens_to_ids(start)
            assert written.sum(1).tolist() == [1, 1]

    @pytest.mark.filterwarnings("ignore:samples with:UserWarning")
    def test_packed_samples_train_as_padded_ones_or_are_refused(self, processor):
        model = miniature(self.model_type)[0]
        adapter = LVLM.wrap(model, processor).adapter
        if self.packing_refused:
            fix = "data.packing to false"
            with pytest.raises(ConfigError, match=f"(?s)type '{self.model_type}'.*{self.packing_refused}.*{fix}"):
                packed_rows(adapter)
            return
        padded = Filling(self.collator(processor))([Marked(row=sample) for sample in MIXED])
        for layout, attention in zip(LAYOUTS, ("eager", "sdpa"), strict=True):
            model.set_attn_implementation(attention)
            packed = pack(padded, layout, N_IMAGES, packed_rows(adapter))
            assert packed["input_ids"].shape[0] == len(layout)
            assert tokens_seen(packed) == tokens_seen(padded)
            packed["position_ids"] = adapter.packed_positions(packed)
            check_equal_training(model, padded, packed)
        mixed = {**packed, "attention_mask": torch.ones_like(packed["input_ids"])}  # so that samples see each other
        assert distance(learning(model, padded), learning(model, mixed)) > 1e-3


class ImageFirstTester(FamilyTester):
    """Families in which images come first."""

    def test_tokens_are_those_of_a_probe(self, processor):
        """The probe's tokens follow the checkpoints' prompts; training adds the end of the answer."""
        lvlm = LVLM.wrap(miniature(self.model_type)[0], processor)
        image = plain_image((9, 90, 90), (32, 24))
        prompt = lvlm.prompt("what is it ?", ["yes", "no"])
        tokens = lvlm.adapter.expand(lvlm.encode_images([image])[0])
        expected = [token for piece in prompt.ids for token in (tokens if piece == -1 else [piece])]
        batch = self.collator(processor)([row("a", [image], "<image>\nwhat is it ?", "yes")])
        answer = [*prompt.candidates[0], processor.tokenizer.eos_token_id]
        assert batch["input_ids"][0].tolist() == [*expected, *answer]
        assert batch["labels"][0].tolist() == [-100] * len(expected) + answer


class MropeTester(FamilyTester):
    """Families with positions in time, height and width."""

    answer = ("", "<|im_end|>")
    has_videos = True

    def further_inputs(self, lvlm, ids, rendered):
        return {"mm_token_type_ids": (ids == lvlm.adapter.image_token_id).int()}

    def test_positions_are_those_of_the_whole_row(self, lvlm):
        """What questions about an image have in common is computed once, and again for another image or place."""
        adapter = lvlm.adapter
        for before, grid, after in [(0, (4, 6), 1), (5, (4, 6), 9), (5, (4, 6), 0), (5, (6, 4), 9), (5, (8, 2), 2)]:
            image = {"image_grid_thw": torch.tensor([[1, *grid]])}
            ids = [5] * before + [adapter.image_token_id] * (grid[0] * grid[1] // 4) + [7] * after
            tokens = torch.tensor([ids])
            kinds = (tokens == adapter.image_token_id).int()
            whole = adapter.model.model.get_rope_index(input_ids=tokens, mm_token_type_ids=kinds, **image)[0][:, 0]
            assert torch.equal(adapter.positions(ids, image), whole)
            assert torch.equal(adapter.positions(ids, None), torch.arange(len(ids)).expand(3, -1))
