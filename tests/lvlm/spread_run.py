"""Probes tiny models of which a part lies on a pretended device, and prints how far the posteriors are off, as JSON.

    python tests/lvlm/spread_run.py MODEL:tail|head|tower ...

The part is the decoder's end with norm and head, its beginning with the embeddings, or what sees. accelerate's hooks
bring every module's inputs to it, as for ``device_map="auto"`` over several GPUs.
"""

import json
import sys
from pathlib import Path

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device

from fusionscope.lvlm import LVLM, miniature
from fusionscope.probe import posteriors

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "probe")]

from device_run import moved, noise_task
from far_device import FarDevice


class Brings(ModelHook):
    """As accelerate's, whose own way of moving weights knows no pretended device."""

    def __init__(self, device):
        self.execution_device = torch.device(device)

    def pre_forward(self, module, *args, **kwargs):
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


def place(module, device):
    moved(module, device)
    for part in module.modules():
        if part is module or any(True for _ in (*part.parameters(recurse=False), *part.buffers(recurse=False))):
            add_hook_to_module(part, Brings(device))


def spread(lvlm, part):
    adapter = lvlm.adapter
    head = lvlm.model.get_output_embeddings()
    ends = {"tail": [*adapter.layers[1:], adapter.final_norm, head], "tower": list(adapter.vision_modules)}
    begins = [adapter.embedding, adapter.layers[0], adapter.text_model.rotary_emb]
    far = {**ends, "head": begins}[part]
    for module in (*adapter.layers, adapter.embedding, adapter.final_norm, head, *adapter.vision_modules):
        if not any(module is one for one in far):
            add_hook_to_module(module, Brings("cpu"))
    for module in far:
        place(module, "far")


def compare(kind, part):
    lvlm, task = LVLM.wrap(*miniature(kind)), noise_task(n_images=2, candidates=("yes", "no"))
    lvlm.model.set_attn_implementation("eager")  # fused kernels are chosen by device: none knows a pretended one
    expected = posteriors(lvlm, task).conditionals
    with FarDevice():
        spread(lvlm, part)
        return float((posteriors(lvlm, task).conditionals.cpu() - expected).abs().max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({case: compare(*case.split(":")) for case in sys.argv[1:]}))
