"""The order of the data, and LLaVA's files."""

import json
from itertools import chain

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fusionscope.data import LlavaJson
from fusionscope.data.loader import ResumableLoader
from fusionscope.data.sampler import FILLER, ResumableBatchSampler
from fusionscope.errors import BadImageError, DataError


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 3))
def test_global_batches_do_not_depend_on_the_number_of_ranks(n, per_rank, epoch):
    """One, two and four ranks with the same global batch see the same samples in each batch, each once an epoch."""
    seen = []
    for ranks in (1, 2, 4):
        samplers = [
            ResumableBatchSampler(n, per_rank * 4 // ranks, seed=5, rank=rank, ranks=ranks) for rank in range(ranks)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        batches = [sorted(chain.from_iterable(parts)) for parts in zip(*samplers, strict=True)]
        seen.append([[i for i in batch if i != FILLER] for batch in batches])
    assert seen[0] == seen[1] == seen[2]
    assert sorted(chain.from_iterable(seen[0])) == list(range(n))


def test_epochs_differ_and_repeat_with_their_seed():
    first, second = (ResumableBatchSampler(50, 8, seed=seed) for seed in (0, 1))
    assert first.order() != second.order()
    again = ResumableBatchSampler(50, 8, seed=0)
    assert first.order() == again.order()
    again.set_epoch(1)
    assert first.order() != again.order()
    assert ResumableBatchSampler(5, 8, shuffle=False).order() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_continues_after_what_it_handed_out(workers):
    def loader():
        return ResumableLoader(list(range(20)), ResumableBatchSampler(20, 3), collate_fn=list, num_workers=workers)

    whole = loader()
    expected = list(whole)
    assert len(expected) == len(whole) == 7
    partly, batches = loader(), []
    for batch in partly:
        batches.append(batch)
        if len(batches) == 4:
            state = partly.state_dict()
            break
    rest = loader()
    rest.load_state_dict(state)
    assert batches + list(rest) == expected
    done = loader()
    done.load_state_dict({**state, "epoch": 0, "batches": 7})
    following = loader()
    following._batches.set_epoch(1)
    assert list(done) == list(following)
    limited = loader()  # trainer.limit_train_batches=3, and resumed where the first epoch ended
    limited.load_state_dict({**state, "epoch": 0, "batches": 3})
    limited._batches.set_epoch(1)
    following._batches.set_epoch(1)
    assert list(limited) == list(following)


def test_batches_of_another_size_or_of_other_data_are_not_continued():
    def loader(n, size, ranks=1):
        return ResumableLoader(list(range(n)), ResumableBatchSampler(n, size, ranks=ranks), collate_fn=list)

    whole = loader(20, 4)
    next(iter(whole))
    state = whole.state_dict()
    for other in (loader(20, 4, ranks=2), loader(21, 4)):
        with pytest.raises(
            DataError, match=r"1 batches of 4 of 20 samples on, this run makes batches of (8 of 20|4 of 21)"
        ):
            other.load_state_dict(state)
    loader(20, 2, ranks=2).load_state_dict(state)
    loader(20, 8).load_state_dict({**state, "batches": 0})
    with pytest.raises(DataError, match=r"says batches, epoch of its data, and not what its batches were cut from"):
        loader(20, 8).load_state_dict({"epoch": 0, "batches": 1})


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (5, 5), (9, 9, 9)).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Grey."}]
    rows = [
        {"id": str(i), "image": name, "conversations": turns} for i, name in enumerate(["a.png", "bad.png", "no.png"])
    ]
    rows.append({"id": "3", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(one) for one in rows))
    return tmp_path


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_llava_files_load_with_their_images(folder, name):
    data = LlavaJson(str(folder / name))
    assert len(data) == 4
    assert data[0]["image"][0].getpixel((0, 0)) == (9, 9, 9)
    assert data[3]["image"] is None
    for i in (1, 2):
        with pytest.raises(DataError, match=rf"{name} row {i + 1}: image '(bad|no).png' cannot be read"):
            data[i]


def test_whatever_pillow_raises_on_a_broken_picture_it_is_a_bad_one(folder, monkeypatch):
    """Of damaged bytes it raises SyntaxError, ValueError and DecompressionBombError besides OSError."""
    whole = (folder / "a.png").read_bytes()
    (folder / "bad.png").write_bytes(whole.replace(b"IDAT", b"\xdb\xba\x980"))
    (folder / "no.png").write_bytes(whole[:8] + b"\x00\x00\x00\x02" + whole[12:])
    data = LlavaJson(str(folder / "rows.json"))
    for i in (1, 2):
        with pytest.raises(BadImageError, match="cannot be read"):
            data[i]
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 5)
    with pytest.raises(BadImageError, match="exceeds limit"):
        data[0]


def test_sixteen_bits_of_grey_are_not_cut_to_white(folder):
    Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)).save(folder / "a.png")
    (image,) = LlavaJson(str(folder / "rows.json"))[0]["image"]
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_a_full_disk_is_told_with_where_to_go(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", full)
    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_batch", full)
    (folder / "new.json").write_text((folder / "rows.json").read_text())
    with pytest.raises(DataError, match=r"(?s)new\.json cannot be converted.*No space left.*set cache_dir"):
        LlavaJson(str(folder / "new.json"))


def test_a_file_of_another_kind_is_refused_with_its_row(folder):
    (folder / "other.json").write_text('[{"conversations": []}, {"text": "x"}]')
    with pytest.raises(DataError, match="row 2 has no list 'conversations'"):
        LlavaJson(str(folder / "other.json"))
    (folder / "other.json").write_text("{")
    with pytest.raises(DataError, match=r"other\.json"):
        LlavaJson(str(folder / "other.json"))
    with pytest.raises(DataError, match=r"absent\.json"):
        LlavaJson(str(folder / "absent.json"))


@given(st.integers(1, 80), st.integers(1, 4), st.integers(0, 2), st.data())
def test_groups_hold_every_sample_once_and_one_modality(n, per_rank, epoch, data):
    lengths = data.draw(st.lists(st.integers(-30, 30), min_size=n, max_size=n))
    seen = []
    for ranks in (1, 2):
        samplers = [
            ResumableBatchSampler(n, per_rank * 2 // ranks, seed=5, lengths=lengths, rank=rank, ranks=ranks)
            for rank in range(ranks)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        batches = [sorted(chain.from_iterable(parts)) for parts in zip(*samplers, strict=True)]
        seen.append([[i for i in batch if i != FILLER] for batch in batches])
    assert seen[0] == seen[1]
    assert sorted(chain.from_iterable(seen[0])) == list(range(n))
    size = per_rank * 2
    full = sum(count // size for count in (sum(x >= 0 for x in lengths), sum(x < 0 for x in lengths)))
    for batch in samplers[0].global_batches()[:full]:
        assert len({lengths[i] >= 0 for i in batch}) == 1


def test_grouping_puts_similar_lengths_together():
    lengths = [(7 * i) % 101 for i in range(101)]
    spread = {}
    for given_lengths in (None, lengths):
        batches = ResumableBatchSampler(101, 10, lengths=given_lengths).global_batches()[:10]
        spread[given_lengths is None] = sum(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches)
    assert spread[False] < spread[True] / 3


def test_lengths_are_words_and_negative_without_an_image(folder):
    assert LlavaJson(str(folder / "rows.json")).lengths() == [3, 3, 3, -2]


def test_rows_are_mapped_from_disk_whatever_types_the_file_mixes(folder, monkeypatch):
    monkeypatch.setattr("fusionscope.tasks.sources.json_file._CHUNK", 7)  # a row spans many reads
    turns = [{"from": "human", "value": 'Où [est, {le] "chat"} ?'}, {"from": "gpt", "value": "\\ ici, 猫"}]
    rows = [
        {"id": 7, "conversations": turns, "model": "x"},
        {"id": "b", "image": "a.png", "conversations": turns},
        {"image": ["a.png", "a.png"], "conversations": turns},
    ]
    (folder / "mixed.json").write_text("\n " + json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    data = LlavaJson(str(folder / "mixed.json"))
    assert data.rows.cache_files
    assert [row["id"] for row in data.rows] == ["7", "b", "without id"]
    assert all(row["conversations"] == turns for row in data.rows)
    assert [len(data[i]["image"] or ()) for i in range(3)] == [0, 1, 2]
    assert len(LlavaJson(str(folder / "mixed.json")).rows) == 3
    (folder / "mixed.json").write_text(json.dumps(rows[:2]))
    assert len(LlavaJson(str(folder / "mixed.json"))) == 2


@pytest.mark.parametrize(("text", "said"), [("[]", "holds no rows"), ('{"a": 1}', "row 1 has no list 'conversations'")])
def test_a_file_without_a_list_of_rows_is_refused(folder, text, said):
    (folder / "other.json").write_text(text)
    with pytest.raises(DataError, match=said):
        LlavaJson(str(folder / "other.json"))


def test_a_cut_file_is_refused_with_the_last_good_row(folder):
    whole = (folder / "rows.json").read_text()
    (folder / "cut.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.json row [23] is no JSON"):
        LlavaJson(str(folder / "cut.json"))


def test_a_dataset_of_the_hub_brings_its_pictures(folder, monkeypatch):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Grey."}]
    rows = datasets.Dataset.from_list(
        [{"id": "0", "image": str(folder / "a.png"), "conversations": turns}, {"id": "1", "conversations": turns}]
    )
    hub = {"some/rows": rows.cast_column("image", datasets.Image()), "some/other": rows.remove_columns("conversations")}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration, **settings: hub[name])
    data = LlavaJson("hub:some/rows")
    assert data[0]["image"][0].getpixel((0, 0)) == (9, 9, 9)
    assert data[1]["image"] is None
    assert data.lengths() == [3, -3]
    with pytest.raises(DataError, match=r"'hub:some/other' has the columns id, image"):
        LlavaJson("hub:some/other")
