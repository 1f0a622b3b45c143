"""Positions in time, height and width."""

import pytest
import torch

from fusionscope.lvlm import LVLM, tiny


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_positions_are_those_of_the_whole_row(name):
    """What questions about an image share is computed once, and again for another image or place."""
    adapter = LVLM.wrap(*tiny.build(name)).adapter
    for before, grid, after in [(0, (4, 6), 1), (5, (4, 6), 9), (5, (4, 6), 0), (5, (6, 4), 9), (5, (8, 2), 2)]:
        image = {"image_grid_thw": torch.tensor([[1, *grid]])}
        row = [5] * before + [adapter.image_token_id] * (grid[0] * grid[1] // 4) + [7] * after
        tokens = torch.tensor([row])
        kinds = (tokens == adapter.image_token_id).int()
        whole = adapter.model.model.get_rope_index(input_ids=tokens, mm_token_type_ids=kinds, **image)[0][:, 0]
        assert torch.equal(adapter.positions(row, image), whole)
        assert torch.equal(adapter.positions(row, None), torch.arange(len(row)).expand(3, -1))
