"""The paper's design as it was: noise of the question's own tokens and of the image's, per sample."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.probe import ProbeSpec, posteriors, probe
from fusionscope.probe.designs.noise import moments, seed_of
from fusionscope.probe.designs.paper import Paper

LETTERS = ("A", "B", "C")


@pytest.fixture
def task(make_task):
    return make_task(n_images=4, n_questions=3, candidates=LETTERS)


def test_distributions_are_those_of_the_model_given_the_noise(llava, task):
    """Every masked pass redone by hand: statistics over the train part's pairs, the noise put into the embeddings."""
    found = posteriors(
        llava, task, ProbeSpec(design="paper", design_options={"fallback": 0.001}, layers="last", seed=3)
    )
    train = Paper()._train_part(task.pairs, 3)
    assert len(train) == 9
    images = [image["embeddings"] for image in llava.encode_images(task.images)]
    words = [
        llava.adapter.embedding(torch.tensor(llava.tokenizer(question.text)["input_ids"][1:]))
        for question in task.questions
    ]
    of_images = moments(images[a] for a, _ in train.tolist())
    of_words = moments(words[b] for _, b in train.tolist())
    tokens = [llava.tokenizer.convert_tokens_to_ids(f"Ġ{letter}") for letter in LETTERS]
    for n, (a, b) in enumerate(task.pairs.tolist()):
        inputs = llava.processor(
            images=task.images[a], text=llava.adapter.chat.render(task.questions[b].text), return_tensors="pt"
        )
        ids = inputs["input_ids"][0]
        embeds = llava.adapter.embedding(ids.where(ids != llava.adapter.image_token_id, 0))
        here = ids == llava.adapter.image_token_id
        embeds[here] = images[a]
        text = llava.tokenizer(task.questions[b].text)["input_ids"][1:]
        start = next(i for i in range(len(ids)) if ids[i : i + len(text)].tolist() == text)
        blind, mute = embeds.clone(), embeds.clone()
        blind[here] = of_images.draw(images[a], seed_of(3, n, 0, 1), 1.0)
        mute[start : start + len(text)] = of_words.draw(words[b], seed_of(3, n, 0, 0), 1.0)
        for posterior, changed in ((found.language, blind), (found.vision, mute), (found.joint, embeds)):
            with torch.no_grad():
                logits = llava.model(inputs_embeds=changed[None]).logits[0, -1, tokens].double()
            torch.testing.assert_close(posterior[0, n], logits.softmax(-1), atol=1e-5, rtol=0)


def test_little_mass_falls_back_to_the_uniform_distribution_by_the_designs_own_rule(llava, task):
    found = posteriors(llava, task, ProbeSpec(design="paper", layers="last"))
    low = found.mass[0] < 0.3
    assert low.any(), "a random model says anything"
    assert (found.joint[0][low] == 1 / 3).all()
    with pytest.raises(InputError, match=r"fallback=0.5 with design 'paper'"):
        posteriors(llava, task, ProbeSpec(design="paper", fallback=0.5))
    with pytest.raises(InputError, match=r"train_fraction=0"):
        ProbeSpec(design="paper", design_options={"train_fraction": 0})


def test_the_whole_pipeline_is_one_specification(llava, task):
    estimator = {"epochs": 1, "hidden_size": 4, "plug_in": False}
    spec = ProbeSpec(design="paper", estimator="batch", estimator_options=estimator, layers=(0, -1))
    results = probe(llava, task, spec)
    assert [r.layer for r in results] == [0, 3]
    assert results[0].variant.startswith("paper+batch:")
    assert all(abs(float(sum(r.pid.atoms().values()) - r.pid.total)) < 1e-6 for r in results)
