"""LLaVA-OneVision."""

from family_tester import ROWS, FamilyTester

from fusionscope.data.conversation import parse
from fusionscope.data.templates import render
from fusionscope.lvlm import family_of


class TestLlavaOnevision(FamilyTester):
    model_type = "llava_onevision"
    has_start = False
    answer = ("", "<|im_end|>")
    processor_class = "LlavaOnevisionProcessor"
    processor_settings = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    has_videos = True

    def test_a_lone_image_is_tiled_and_several_are_not(self, processor):
        batch = self.collator(processor)(ROWS)
        tokens = (batch["input_ids"] == processor.image_token_id).sum(1).tolist()
        assert tokens[2] == 2 * (16 + 1)  # a view and its newline for each
        assert tokens[0] > 16 + 1
        assert batch["batch_num_images"].tolist() == [1, 0, 2, 1]

    def test_the_published_template_announces_an_answer_otherwise_than_it_writes_it(self, processor):
        shown = render(parse(ROWS[0]), "chat", processor, family_of(self.model_type).prompt)
        assert "<|im_start|>assistant \nred" in shown.text
        assert [shown.text[a:b] for a, b in shown.spans] == ["red<|im_end|>", "yes<|im_end|>"]
