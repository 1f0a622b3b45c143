"""The stated bound on memory, held against what is really alive during a probe."""

import gc
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import Execution, posteriors
from fusionscope.probe.engine.memory import HEAD_ELEMENTS, row_bytes


class Alive(TorchDispatchMode):
    """Bytes of storages made while entered and still alive, and their peak."""

    def __init__(self, model):
        super().__init__()
        self.now = self.peak = 0
        self.known = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers())}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.add(storage)
        return out

    def add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone():
            self.known.discard(key)
            self.now -= size

        weakref.finalize(storage, gone)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("rows", [1, 6])
def test_the_peak_stays_under_the_formula(make_task, name, rows):
    lvlm = LVLM.wrap(*miniature(name))
    task = make_task(n_images=6, n_questions=4)
    posteriors(lvlm, task)
    with Alive(lvlm.model) as alive:
        posteriors(lvlm, task, execution=Execution(batch_size=rows))
    longest = max(len(lvlm.prompt(q.text, q.candidates).ids) for q in task.questions) + 16
    vocabulary = lvlm.adapter.text_config.vocab_size
    head = min(HEAD_ELEMENTS, max(rows, len(task.questions)) * vocabulary) * 12
    images = sum(
        value.numel() * value.element_size() for one in lvlm.encode_images(task.images) for value in one.values()
    )
    seeing = 32 * 40 * 40 * 3 * 8 * 4
    bound = max(rows, 1) * row_bytes(lvlm, longest, longest, lvlm.n_layers + 1) + head + 2 * images + seeing
    assert 0 < alive.peak < bound


def test_the_bound_grows_with_what_it_counts(llava):
    base = row_bytes(llava, 100, 20, 4)
    assert row_bytes(llava, 200, 20, 4) > base
    assert row_bytes(llava, 100, 40, 4) > base
    assert row_bytes(llava, 100, 20, 8) > base


def test_nothing_is_kept_afterwards(make_task):
    lvlm, task = LVLM.wrap(*miniature("llava")), make_task()
    posteriors(lvlm, task)
    with Alive(lvlm.model) as alive:
        found = posteriors(lvlm, task)
        del found
        gc.collect()
    weights = sum(value.numel() * value.element_size() for value in lvlm.model.parameters())
    assert alive.peak > 0.01 * weights
    assert alive.now < 0.01 * weights


def test_images_too_are_encoded_in_smaller_batches_when_memory_runs_out(make_task, monkeypatch):
    lvlm, task, sizes = LVLM.wrap(*miniature("llava")), make_task(n_images=9), []
    expected = posteriors(lvlm, task).conditionals
    encode_images = type(lvlm.adapter).encode_images

    def crowded(self, pixels):
        sizes.append(len(pixels))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return encode_images(self, pixels)

    monkeypatch.setattr(type(lvlm.adapter), "encode_images", crowded)
    torch.testing.assert_close(posteriors(lvlm, task).conditionals, expected, atol=1e-5, rtol=0)
    assert sizes == [9, 9, 8, 4, 4, 1]
