from collections import Counter
from random import Random

import pytest
import torch

from fusionscope.data import Collator
from fusionscope.data.conversation import parse
from fusionscope.errors import InputError
from fusionscope.lvlm import family_of
from fusionscope.sandbox import language
from fusionscope.sandbox.data import Captions, Instructions, blind_caption_loss, captions, instructions, load_image
from fusionscope.sandbox.model import build_processor
from fusionscope.sandbox.texts import Collate, Exam, Mixture
from fusionscope.sandbox.world import COLOURS, LETTERS, held_out, render, scenes, split


def test_captions_have_the_declared_form():
    def answers(form):
        return [row["conversations"][1]["value"] for row in captions(split()[0], 40, form=form, seed=0)]

    assert all(len(text.split()) == 4 for text in answers("raster"))
    assert all(len(text.split()) == 8 for text in answers("list"))
    assert {len(text.split()) for text in answers("half")} == {4, 8}
    with pytest.raises(InputError, match="caption form 'poem'"):
        captions(split()[0], 1, form="poem", seed=0)


def test_half_of_the_instructions_need_picture_and_question():
    rows = instructions(split()[0], 4000, seed=1)
    kinds = Counter(
        row["conversations"][0]["value"].split()[5] for row in rows if " is the " in row["conversations"][0]["value"]
    )
    needing = sum(kinds[shape] for shape in ("circle", "square", "triangle", "cross"))
    assert needing / len(rows) == pytest.approx(0.5, abs=0.03)


def test_answers_are_true_of_the_picture():
    for row in instructions(split()[0], 300, seed=2):
        question, answer = (turn["value"] for turn in row["conversations"])
        shape = question.split(" ?")[0].split()[-1]
        scene = scenes()[int(row["id"][6:])]
        if f"-{shape}" in " ".join(scene.words):
            assert f"{COLOURS[LETTERS.index(answer)]}-{shape}" in scene.words


def test_rows_are_conversations_with_rendered_pictures_of_their_part():
    for dataset, wanted in ((Captions(8, part="held_out", seed=0), True), (Instructions(8, seed=0), False)):
        for i in range(len(dataset)):
            row = dataset[i]
            assert len(parse(row).turns) == 2
            scene = scenes()[int(row["id"][6:])]
            assert held_out(scene) is wanted
            assert row["image"].tobytes() == render(scene).tobytes()
    with pytest.raises(InputError, match="part 'test'"):
        Captions(8, part="test")


def test_no_seed_takes_the_global_one_without_drawing_from_it():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert Captions(5).rows == Captions(5, seed=7).rows
    assert Captions(5).rows != Captions(5, seed=8).rows
    assert torch.equal(state, torch.get_rng_state())


def test_the_collator_supervises_the_answer_alone():
    dataset = Instructions(16, seed=0)
    processor = build_processor()
    batch = Collator(processor, "chat", family=family_of("llava"))([dataset[i] for i in range(16)])
    for i, labels in enumerate(batch["labels"]):
        said = processor.tokenizer.decode(labels[labels >= 0])
        assert said == dataset.rows[i]["conversations"][1]["value"] + " </s>"
    assert batch["pixel_values"].shape == (16, 3, 32, 32)


def test_a_picture_is_found_by_its_name():
    assert load_image("scene-0042.png").tobytes() == render(scenes()[42]).tobytes()


def test_the_blind_loss_is_that_of_two_permutations():
    assert blind_caption_loss() == pytest.approx(1.2712, abs=1e-4)


def test_scenes_as_text_hold_the_background_once_and_the_answer():
    rng = Random(0)
    for scene in split()[0][:50]:
        example = language.synergy(scene, rng)
        assert all(word in example.prompt for word in scene.words)
        assert example.answer in LETTERS


def test_a_text_sample_depends_on_seed_and_index_alone():
    mixture = Mixture(split()[0], 100, seed=4)
    assert mixture[17] == Mixture(split()[0], 50, seed=4)[17]
    assert mixture[17] != mixture[18]
    with pytest.raises(IndexError):
        mixture[100]


def test_text_batches_supervise_answers_and_whole_statements():
    collate = Collate()
    samples = [Mixture(split()[0], 200, seed=0)[i] for i in range(200)]
    batch = collate(samples)
    for sample, labels in zip(samples, batch["labels"], strict=True):
        said = collate.processor.tokenizer.decode(labels[labels >= 0])
        assert said == f"{sample.example.answer} </s>"


def test_the_exam_asks_each_scene_each_family():
    exam = Exam(split()[1][:10], seed=0)
    assert len(exam) == 30
    assert Counter(exam[i].family for i in range(30)) == {0: 10, 1: 10, 2: 10}
