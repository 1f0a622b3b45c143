"""The masked designs against embeddings edited by hand."""

from dataclasses import replace

import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lvlm import FeatureCache
from fusionscope.probe import Execution, ProbeSpec, posteriors, probe
from fusionscope.probe.designs.noise import moments
from fusionscope.tasks import Question

OPTIONS = "A. cat B. dog C. owl"
LETTERS = ("A", "B", "C")


@pytest.fixture(scope="module")
def task(make_task):
    questions = [
        Question(text=f"{text} {OPTIONS}", candidates=LETTERS, blanked=OPTIONS) for text in ("What is it?", "Which?")
    ]
    return make_task(n_images=3, n_questions=2, candidates=LETTERS, questions=questions)


@pytest.fixture(scope="module")
def parts(llava, task):
    """Input ids, input embeddings [S, D] and image mask [S] of each pair, by transformers' processor and model."""

    def make(a, b, text=None):
        rendered = llava.adapter.chat.render(task.questions[b].text if text is None else text)
        inputs = llava.processor(images=task.images[a], text=rendered, return_tensors="pt")
        model = llava.model
        with torch.no_grad():
            embeds = model.get_input_embeddings()(inputs["input_ids"])[0]
            image = model.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
        here = inputs["input_ids"][0] == model.config.image_token_id
        embeds[here] = image
        return inputs["input_ids"][0], embeds, here

    return make


def answer(llava, embeds):
    tokens = [llava.tokenizer.convert_tokens_to_ids(f"Ġ{letter}") for letter in LETTERS]
    with torch.no_grad():
        return llava.model(inputs_embeds=embeds[None]).logits[0, -1, tokens].double().softmax(-1)


def own_tokens(llava, task, b):
    """Embeddings of a question's own tokens, without the template around them."""
    return llava.adapter.embedding(torch.tensor(llava.tokenizer(task.questions[b].text)["input_ids"][1:]))


def test_mean_is_the_mean_embedding(llava, task, parts):
    found = posteriors(llava, task, ProbeSpec(design="masked", layers="last", design_options={"mask": "mean"}))
    images = moments(parts(a, 0)[1][parts(a, 0)[2]] for a in range(3))
    words = moments(own_tokens(llava, task, b) for b in range(2))
    for n, (a, b) in enumerate(task.pairs.tolist()):
        ids, embeds, here = parts(a, b)
        torch.testing.assert_close(found.joint[0, n], answer(llava, embeds), atol=1e-5, rtol=0)
        blind = torch.where(here[:, None], images.mean.float(), embeds)
        torch.testing.assert_close(found.language[0, n], answer(llava, blind), atol=1e-5, rtol=0)
        text = llava.tokenizer(task.questions[b].text)["input_ids"][1:]
        start = next(i for i in range(len(ids)) if ids[i : i + len(text)].tolist() == text)
        mute = embeds.clone()
        mute[start : start + len(text)] = words.mean.float()
        torch.testing.assert_close(found.vision[0, n], answer(llava, mute), atol=1e-5, rtol=0)


def test_removal_is_a_conversation_without_it(llava, task, parts):
    found = posteriors(llava, task, ProbeSpec(design="masked", layers="last", design_options={"mask": "remove"}))
    kept = posteriors(
        llava, task, ProbeSpec(design="masked", layers="last", design_options={"mask": "remove", "keep_options": True})
    )
    for n, (a, b) in enumerate(task.pairs.tolist()):
        _, embeds, here = parts(a, b)
        torch.testing.assert_close(found.language[0, n], answer(llava, embeds[~here]), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.vision[0, n], answer(llava, parts(a, b, "")[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(kept.vision[0, n], answer(llava, parts(a, b, OPTIONS)[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask", ["noise", "other"])
def test_draws_depend_on_the_seed_alone(llava, task, mask):
    state = torch.get_rng_state()
    settings = {"design": "masked", "design_options": {"mask": mask, "draws": 2}}
    first = posteriors(llava, task, ProbeSpec(**settings))
    again = posteriors(llava, task, ProbeSpec(**settings), execution=Execution(batch_size=2))
    other = posteriors(llava, task, ProbeSpec(**settings, seed=1))
    for name in ("joint", "vision", "language"):
        torch.testing.assert_close(getattr(first, name), getattr(again, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(first.joint, other.joint)
    assert (first.language - other.language)[-1].abs().max() > 1e-4
    assert (first.vision - other.vision)[-1].abs().max() > 1e-4
    assert torch.equal(torch.get_rng_state(), state)
    assert first.details["draws"] == 2


def test_noise_has_the_embeddings_moments():
    values = 100 + 3 * torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    known = moments(values.split(700))
    torch.testing.assert_close(known.mean, values.double().mean(0))
    torch.testing.assert_close(known.std, values.double().std(0, correction=0))
    drawn = known.draw(torch.empty(20000, 5), seed=1, scale=2.0).double()
    torch.testing.assert_close(drawn.mean(0), known.mean, atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0), 2 * known.std, rtol=0.03, atol=0)


def test_options_can_be_kept_while_the_question_is_noise(llava, task):
    whole = posteriors(llava, task, ProbeSpec(design="masked", layers="last"))
    kept = posteriors(llava, task, ProbeSpec(design="masked", layers="last", design_options={"keep_options": True}))
    assert (whole.vision - kept.vision).abs().max() > 1e-4
    torch.testing.assert_close(whole.language, kept.language)
    bare = [Question(text="Which?", candidates=LETTERS)] * 2
    with pytest.raises(InputError, match=r"keep_options=True[\s\S]*Question.blanked"):
        posteriors(
            llava, replace(task, questions=bare), ProbeSpec(design="masked", design_options={"keep_options": True})
        )
    with pytest.raises(UnknownNameError, match="mask 'fog'"):
        posteriors(llava, task, ProbeSpec(design="masked", design_options={"mask": "fog"}))


def test_masking_never_happens_unasked(llava, make_task):
    assert posteriors(llava, make_task(n_images=2, crossable=False), ProbeSpec(layers="last")).design == "rows"
    assert posteriors(llava, make_task(n_images=2), ProbeSpec(layers="last")).design == "crossed"


def test_pairs_are_limited_by_the_seed(llava, task):
    one = posteriors(llava, task, ProbeSpec(design="masked", max_pairs=4, layers="last"))
    assert one.joint.shape == (1, 4, 3)
    whole = posteriors(llava, task, ProbeSpec(design="masked", layers="last"))
    rows = [task.pairs.tolist().index(pair) for pair in one.pairs.tolist()]
    torch.testing.assert_close(one.joint, whole.joint[:, rows], atol=1e-5, rtol=0)


def test_the_noises_statistics_are_computed_once_for_the_same_weights(llava, task, monkeypatch):
    from fusionscope.lvlm import FeatureCache
    from fusionscope.probe.designs import masked

    counted = []
    monkeypatch.setattr(masked, "moments", lambda *args: counted.append(1) or moments(*args))
    cache = FeatureCache()
    spec = ProbeSpec(design="masked", layers="last")
    bare = posteriors(llava, task, spec)
    first = len(counted)
    found = [posteriors(llava, task, spec, execution=Execution(feature_cache=cache)) for _ in range(2)]
    assert len(counted) == 2 * first
    for one in found:
        torch.testing.assert_close(one.vision, bare.vision)
        torch.testing.assert_close(one.language, bare.language)
    weight = llava.adapter.embedding.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
        posteriors(llava, task, spec, execution=Execution(feature_cache=cache))
        weight.copy_(before)
    assert len(counted) == 3 * first


def test_noise_statistics_in_a_cache_are_those_of_the_tokens_that_are_replaced(llava, task):
    execution = Execution(feature_cache=FeatureCache())
    for options in ({}, {"keep_options": True}):
        spec = ProbeSpec(design="masked", layers="last", design_options=options)
        expected = posteriors(llava, task, spec)
        found = posteriors(llava, task, spec, execution=execution)
        torch.testing.assert_close(found.vision, expected.vision, atol=1e-6, rtol=0)


def test_fallback_rates_are_those_of_each_layer(llava, task):
    spec = ProbeSpec(design="masked", layers="all")
    rates = [result.diagnostics["fallback_rate_language"] for result in probe(llava, task, spec)]
    alone = [
        probe(llava, task, replace(spec, layers=(layer,)))[0].diagnostics["fallback_rate_language"]
        for layer in range(len(rates))
    ]
    assert [float(rate) for rate in rates] == [float(rate) for rate in alone]


def test_another_pair_is_needed_to_take_a_modality_from(llava, task):
    one = replace(task, pairs=task.pairs[:1], pair_answers=task.pair_answers[:1], row_laws={})
    with pytest.raises(InputError, match="mask='other' with one pair"):
        posteriors(llava, one, ProbeSpec(design="masked", design_options={"mask": "other"}))


def test_a_pass_holds_no_more_sequences_than_the_batch_size(llava, task, monkeypatch):
    sizes, read = [], type(llava).read
    monkeypatch.setattr(
        type(llava), "read", lambda self, batch, *rest: sizes.append(len(batch.ids)) or read(self, batch, *rest)
    )
    spec = ProbeSpec(design="masked", layers="last", scoring="sequence", design_options={"mask": "remove"})
    found = posteriors(llava, task, spec, execution=Execution(batch_size=2))
    assert max(sizes) == 2
    torch.testing.assert_close(found.joint, posteriors(llava, task, spec).joint, atol=1e-5, rtol=0)
