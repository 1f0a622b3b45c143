"""The crossed design against brute force, and what it must leave alone."""

import copy

import pytest
import torch

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lvlm import LVLM, FeatureCache, miniature
from fusionscope.probe import Execution, ProbeSpec, posteriors, probe


def brute_force(lvlm, task, candidates):
    """transformers' own processor and forward pass, one pair at a time."""
    table = torch.empty(len(task.images), len(task.questions), len(candidates), dtype=torch.float64)
    for a, image in enumerate(task.images):
        for b, question in enumerate(task.questions):
            rendered = lvlm.adapter.chat.render(question.text)
            inputs = lvlm.processor(images=image, text=rendered, return_tensors="pt")
            with torch.no_grad():
                logits = lvlm.model(**inputs).logits[0, -1]
            table[a, b] = logits[candidates].double().softmax(-1)
    return table


@pytest.fixture(scope="module")
def grid(llava, make_task):
    task = make_task(candidates=("A", "B", "C"))
    return task, posteriors(llava, task)


def test_crossed_is_brute_force(llava, grid):
    task, found = grid
    tokens = [llava.tokenizer.convert_tokens_to_ids(f"Ġ{letter}") for letter in "ABC"]
    wanted = brute_force(llava, task, tokens)
    torch.testing.assert_close(found.conditionals[-1], wanted, atol=1e-5, rtol=0)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3
    assert (wanted[:, 0] - wanted[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"batch_size": 2},
        {"batch_size": 7},
        {"padding_side": "left"},
        {"share_prefix": False},
        {"share_prefix": False, "padding_side": "left", "batch_size": 4},
        {"feature_cache": "twice"},
    ],
    ids=str,
)
def test_how_it_is_run_changes_nothing(llava, grid, settings):
    task, found = grid
    if "feature_cache" in settings:
        settings = {"feature_cache": FeatureCache()}
        posteriors(llava, task, execution=Execution(**settings))
    other = posteriors(llava, task, execution=Execution(**settings))
    torch.testing.assert_close(other.conditionals, found.conditionals, atol=1e-5, rtol=0)
    torch.testing.assert_close(other.mass, found.mass, atol=1e-5, rtol=0)


def test_the_prefix_is_run_once_per_image(llava, grid):
    task, found = grid
    without = posteriors(llava, task, execution=Execution(share_prefix=False))
    lengths = [len(llava.prompt(q.text, q.candidates).ids) + 15 for q in task.questions]
    assert without.tokens == len(task.images) * sum(lengths)
    assert found.tokens < without.tokens - len(task.images) * 16 * (len(lengths) - 1)


def test_whole_candidates_are_scored_by_their_mean_log_probability(llava, make_task):
    candidates = ("red", "a dark green", "no")
    task = make_task(n_images=3, n_questions=2, candidates=candidates)
    found = posteriors(llava, task, ProbeSpec(layers="last"))
    for b, question in enumerate(task.questions):
        prompt = llava.prompt(question.text, candidates)
        text = llava.adapter.chat.render(question.text)
        scores = []
        for candidate, tail in zip(candidates, prompt.candidates, strict=True):
            inputs = llava.processor(images=task.images[1], text=f"{text} {candidate}", return_tensors="pt")
            assert inputs["input_ids"][0, -len(tail) :].tolist() == list(tail)
            with torch.no_grad():
                logprob = llava.model(**inputs).logits[0].log_softmax(-1)[-len(tail) - 1 : -1]
            scores.append(logprob[range(len(tail)), list(tail)].double().mean())
        torch.testing.assert_close(found.conditionals[0, 1, b], torch.stack(scores).softmax(-1), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"candidate of \d+ tokens[\s\S]*scoring='sequence'"):
        posteriors(llava, task, ProbeSpec(scoring="single"))
    letters = make_task(n_images=3, n_questions=2, candidates=("A", "B"))
    torch.testing.assert_close(
        posteriors(llava, letters, ProbeSpec(scoring="sequence")).conditionals,
        posteriors(llava, letters).conditionals,
        atol=1e-5,
        rtol=0,
    )


def test_layers_are_chosen_and_checked(llava, grid):
    task, found = grid
    some = posteriors(llava, task, ProbeSpec(layers=[1, -1]))
    assert some.layers == (1, 3)
    torch.testing.assert_close(some.conditionals, found.conditionals[[1, 3]])
    assert (found.conditionals[0] - found.conditionals[0, 0, 0]).abs().max() < 1e-9, (
        "no context in the input embeddings"
    )
    with pytest.raises(UnknownNameError, match=r"layers \(12,\)"):
        probe(llava, task, ProbeSpec(layers=12))


def test_out_of_memory_halves_the_batch(llava, grid, monkeypatch):
    task, found = grid
    rows, original = [], type(llava.adapter).run

    def run(self, embeds, batch):
        rows.append(embeds.shape[0])
        if embeds.shape[0] > 4:
            raise torch.OutOfMemoryError("pretended")
        return original(self, embeds, batch)

    monkeypatch.setattr(type(llava.adapter), "run", run)
    other = posteriors(llava, task, execution=Execution(batch_size=12))
    torch.testing.assert_close(other.conditionals, found.conditionals, atol=1e-5, rtol=0)
    assert other.batch_rows == 3
    assert max(rows) == 12
    monkeypatch.setattr(type(llava.adapter), "run", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(InputError, match="one sequence at a time"):
        posteriors(llava, task)


def test_progress_and_cost_are_told(llava, make_task):
    task, told = make_task(), []
    found = posteriors(
        llava, task, execution=Execution(batch_size=3, progress=lambda done, total: told.append((done, total)))
    )
    assert told == [(3, 15), (6, 15), (9, 15), (12, 15), (15, 15)]
    assert found.seconds > 0


def test_results_per_weights_and_layer(llava, make_task):
    natural = torch.eye(3, dtype=torch.float64) / 3
    task = make_task(
        n_images=3, pair_weights={"uniform": torch.full((3, 3), 1 / 9, dtype=torch.float64), "natural": natural}
    )
    results = probe(llava, task, ProbeSpec(laws=("uniform", "natural"), layers=[0, 3]))
    assert [(r.law, r.layer, r.n) for r in results] == [
        ("uniform", 0, 9),
        ("uniform", 3, 9),
        ("natural", 0, 3),
        ("natural", 3, 3),
    ]
    found = posteriors(llava, task, ProbeSpec(layers=3)).conditionals[0]
    assert results[1].accuracy == pytest.approx((found.argmax(-1) == task.truth).double().mean())
    assert results[1].accuracy_without_image == pytest.approx(
        (found.mean(0).argmax(-1).expand(3, 3) == task.truth).double().mean()
    )
    assert results[3].accuracy == pytest.approx((found.argmax(-1) == task.truth).double().diagonal().mean())
    for result in results:
        assert abs(result.diagnostics["sum_rule_residual"]) < 1e-9
        assert 0 <= result.diagnostics["option_mass"] <= 1
        assert result.pid.synergy.shape == ()
    with pytest.raises(UnknownNameError, match=r"law 'natural'[\s\S]*it has uniform"):
        probe(llava, make_task(), ProbeSpec(laws=("natural",)))
    with pytest.raises(InputError, match="design='learned'"):
        probe(llava, make_task(crossable=False), ProbeSpec(design="crossed"))
    with pytest.raises(UnknownNameError, match="design 'guess'"):
        probe(llava, make_task(), ProbeSpec(design="guess"))


def train(model, lvlm=None, task=None, steps=3):
    """A few steps with dropout, gradient checkpointing and autocast; optionally probed after every step."""
    torch.manual_seed(7)
    model.train()
    model.model.vision_tower.eval()
    model.gradient_checkpointing_enable()
    dropout = torch.nn.Dropout(0.1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(steps):
        ids = torch.randint(10, 100, (2, 9))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if lvlm is not None:
                probe(lvlm, task, ProbeSpec(standard_errors=False))
            words = dropout(model.get_input_embeddings()(ids))
            loss = model(inputs_embeds=words, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, [value.clone() for value in model.state_dict().values()], torch.get_rng_state()


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_training_is_bit_identical_with_and_without_probing(make_task, lora):
    def fresh():
        model, processor = miniature("llava")
        model.model.vision_tower.requires_grad_(False)
        if lora:
            from peft import LoraConfig, get_peft_model

            torch.manual_seed(0)
            model.requires_grad_(False)
            model.model.language_model = get_peft_model(
                model.model.language_model,
                LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
            )
            model.model.language_model.enable_input_require_grads()
        return model, processor

    model, processor = fresh()
    alone = train(model)
    model, processor = fresh()
    wanting = [p.requires_grad for p in model.parameters()]
    watched = train(model, LVLM.wrap(model, processor), make_task())
    assert alone[0] == watched[0]
    assert all(torch.equal(one, two) for one, two in zip(alone[1], watched[1], strict=True))
    assert torch.equal(alone[2], watched[2])
    assert [p.requires_grad for p in model.parameters()] == wanting
    assert model.training
    assert not model.model.vision_tower.training


def test_peft_around_the_whole_model(llava, make_task):
    from peft import LoraConfig, get_peft_model

    task = make_task()
    wrapped = get_peft_model(
        copy.deepcopy(llava.model), LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    )
    found = posteriors(LVLM.wrap(wrapped, llava.processor), task).conditionals
    with wrapped.disable_adapter():
        same = posteriors(LVLM.wrap(wrapped, llava.processor), task).conditionals
    plain = posteriors(llava, task).conditionals
    torch.testing.assert_close(same, plain)
    assert (found - plain).abs().max() > 1e-3


def test_candidates_that_begin_alike_are_read_after_the_prompt(llava, make_task):
    """Rows of a single question share more than the prompt; the place where their first token is told must be run."""
    task = make_task(n_questions=1, candidates=("the red one", "the blue one"))
    apart = posteriors(llava, task, ProbeSpec(scoring="sequence"), execution=Execution(share_prefix=False))
    found = posteriors(llava, task, ProbeSpec(scoring="sequence"))
    torch.testing.assert_close(found.conditionals, apart.conditionals, atol=1e-5, rtol=0)
    assert found.tokens < apart.tokens
