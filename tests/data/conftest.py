"""Processors with small tokenizers trained on the spot: byte-level BPE, and Llama's kind with its glued blanks."""

import datasets
import pytest
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import ProcessorMixin, VideosKwargs

from fusionscope.lvlm import tiny

CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. USER: What is this? ASSISTANT: A cat.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "Is the cat black? yes no red green blue. Grüße, 你好, 🙂",
]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    if kind == "bytes":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:  # as Llama's: blanks become a sign that is glued to the next word, one more stands at the start
        core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        core.decoder = decoders.Sequence(
            [decoders.Metaspace(prepend_scheme="first"), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = []
    byte_words = [] if kind == "bytes" else [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL + byte_words, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"], extra_special_tokens={"image_token": "<image>"},
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


@pytest.fixture(scope="session", params=["bytes", "llama"])
def processor(request: pytest.FixtureRequest) -> LlavaProcessor:
    side = {"height": 28, "width": 28}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=side),
        tokenizer=_tokenizer(request.param),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHATML,
    )


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (40, 20), (255, 0, 0))


@pytest.fixture(autouse=True)
def _arrow_files(tmp_path, monkeypatch):
    """Converted files go with the test, not into the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


class NoVideos:
    valid_kwargs = VideosKwargs
    model_input_names: tuple[str, ...] = ()
    unused_input_names: tuple[str, ...] = ()


_PROCESSORS = {
    "llava_onevision": ("LlavaOnevisionProcessor", {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}),
    "qwen2_vl": ("Qwen2VLProcessor", {}),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", {}),
    "qwen3_vl": ("Qwen3VLProcessor", {}),
    "internvl": ("InternVLProcessor", {"image_seq_length": 4}),
    "idefics3": ("Idefics3Processor", {"image_seq_len": 4}),
    "smolvlm": ("SmolVLMProcessor", {"image_seq_len": 4}),
    "gemma3": ("Gemma3Processor", {"image_seq_length": 4}),
    "paligemma": ("PaliGemmaProcessor", {}),
    "instructblip": ("InstructBlipProcessor", {"num_query_tokens": 5}),
    "fuyu": ("FuyuProcessor", {}),
}
_NO_VIDEOS = ("idefics3", "gemma3", "paligemma", "instructblip", "fuyu")
_NO_TEMPLATE = ("paligemma", "instructblip", "fuyu")
_SIGNS = {
    "internvl": {
        "start_image": "<img>",
        "end_image": "</img>",
        "context_image": "<IMG_CONTEXT>",
        "video": "<video>",
    },
    "gemma3": {"boi": "<start_of_image>", "eoi": "<end_of_image>", "image": "<image_soft_token>"},
}
_ENDS = {"paligemma": "<pad>", "fuyu": "<pad>", "instructblip": "</s>"}  # the first two have no other sign to end with


@pytest.fixture
def family_processor(monkeypatch):
    """Whole processors of the miniatures; stand-ins are their part for videos and SmolVLM's names of numbers."""
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *arguments, **settings: None)
    monkeypatch.setattr(processing_smolvlm, "num2words", str)

    def make(model_type):
        parts = tiny.build(model_type)[1]
        if model_type not in _PROCESSORS:
            return parts
        name, settings = _PROCESSORS[model_type]
        if model_type not in _NO_VIDEOS:
            settings = settings | {"video_processor": NoVideos()}
        if model_type not in _NO_TEMPLATE:
            settings = settings | {"chat_template": parts.chat_template}
        if model_type == "instructblip":
            settings = settings | {"qformer_tokenizer": parts.qformer_tokenizer}
        if model_type in _ENDS:
            parts.tokenizer.eos_token = _ENDS[model_type]
        parts.image_processor.image_seq_length = 16
        for sign, text in _SIGNS.get(model_type, {}).items():
            setattr(parts.tokenizer, f"{sign}_token", text)
            setattr(parts.tokenizer, f"{sign}_token_id", parts.tokenizer.convert_tokens_to_ids(text))
        kind = getattr(transformers, name)
        return kind(image_processor=parts.image_processor, tokenizer=parts.tokenizer, **settings)

    return make
