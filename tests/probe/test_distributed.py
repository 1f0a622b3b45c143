"""Two processes with sharded weights (FSDP2): equal posteriors in lockstep, and a cache that all ranks agree on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from fusionscope.tasks import HeldOutTask, Question, uniform_weights
from fusionscope.lvlm import LVLM, FeatureCache, miniature
from fusionscope.probe import Execution, posteriors
import numpy as np
from PIL import Image

torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=int(sys.argv[2]), world_size=2)
pictures = [Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 48, 3), dtype=np.uint8)) for i in range(3)]
task = HeldOutTask(
    name="noise", images=pictures, image_ids=["a", "b", "c"],
    questions=[Question(text=t, candidates=("yes", "no")) for t in ("Is it?", "Is it red?")], answers=("yes", "no"),
    pairs=torch.zeros(1, 2, dtype=torch.long), pair_answers=torch.zeros(1, dtype=torch.long), crossable=True,
    pair_weights={"uniform": uniform_weights(3, 2)},
)
model, processor = miniature("llava")
lvlm = LVLM.wrap(model, processor)
alone = posteriors(lvlm, task).conditionals
mesh = init_device_mesh("cpu", (2,))
for layer in model.model.language_model.layers:
    fully_shard(layer, mesh=mesh)
tower = model.model.vision_tower
eyes = getattr(tower, "vision_model", tower).encoder.layers
for layer in eyes:  # transformers finds no hidden states in a tower that is itself sharded
    fully_shard(layer, mesh=mesh)
fully_shard(model.get_input_embeddings(), mesh=mesh)
fully_shard(model.model.language_model, mesh=mesh)  # its own forward pass leaves its norm sharded
fully_shard(model, mesh=mesh)
cache = FeatureCache()
for _ in range(2):
    sharded = posteriors(lvlm, task, execution=Execution(feature_cache=cache)).conditionals
    torch.testing.assert_close(sharded, alone, atol=1e-5, rtol=0)
assert cache.hits == 3, cache.hits
with torch.no_grad():
    if int(sys.argv[2]) == 0:
        next(eyes[0].parameters()).to_local().view(-1)[:1].add_(1.0)
posteriors(lvlm, task, execution=Execution(feature_cache=cache))
assert cache.hits == 3, "both ranks notice a change in the part of one"
inputs = processor(images=pictures[0], text=lvlm.adapter.chat.render("Is it?"), return_tensors="pt")
model(**inputs).logits.sum().backward()
assert all(hasattr(value, "to_local") for value in model.lm_head.parameters()), "sharded again"
torch.distributed.destroy_process_group()
print("agreed")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file needs a POSIX system")
def test_sharded_weights_in_lockstep(tmp_path):
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": f"{root / 'harness'}:{root / 'callbacks'}", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "meet"), str(rank)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        out, err = rank.communicate(timeout=240)
        assert rank.returncode == 0, err[-2000:]
        assert out.strip().endswith("agreed")
