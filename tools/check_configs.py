"""Compare the configurations that the recipes' tests build models from with the hub's, field by field.

    python tools/check_configs.py        # needs a connection to the model hub

Prints the commit of each repository; exits with 1 where a value differs. A field that the hub's file leaves to
transformers' default is compared with that default.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import AutoConfig

CONFIGS = Path(__file__).parents[1] / "tests" / "stages" / "fixtures" / "configs"
REPOSITORIES = {
    "llava15_7b": "llava-hf/llava-1.5-7b-hf",
    "llava15_13b": "llava-hf/llava-1.5-13b-hf",
    "qwen25_vl_7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "smolvlm": "HuggingFaceTB/SmolVLM-Instruct",
    "internvl3_2b": "OpenGVLab/InternVL3-2B-hf",
}


def differences(ours: Any, theirs: Any, path: str) -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [line for key in ours for line in differences(ours[key], theirs.get(key), f"{path}.{key}")]
    return [] if ours == theirs else [f"{path}: {ours!r} here, {theirs!r} there"]


def main() -> int:
    wrong = 0
    for name, repository in REPOSITORIES.items():
        settings = json.loads((CONFIGS / f"{name}.json").read_text())
        ours = AutoConfig.for_model(settings.pop("model_type"), **settings)
        theirs = AutoConfig.from_pretrained(repository)
        parts = [part for part in ("text_config", "vision_config") if hasattr(ours, part)]
        found = [
            line
            for part in parts
            for line in differences(getattr(ours, part).to_dict(), getattr(theirs, part).to_dict(), part)
            if not line.partition(":")[0].endswith(("dtype", "transformers_version", "_name_or_path", "architectures"))
        ]
        wrong += bool(found)
        print(f"{repository} at {getattr(theirs, '_commit_hash', None)}: {'; '.join(found) or 'equal'}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
