"""Compare the configurations that the recipes' tests build models from with the hub's, field by field.

    python tools/check_configs.py        # needs a connection to the model hub

At the revisions named below; exits with 1 where a value differs. A field that the hub's file leaves to
transformers' default is compared with that default.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import AutoConfig

CONFIGS = Path(__file__).parents[1] / "tests" / "stages" / "fixtures" / "configs"
REVISIONS = {
    "llava15_7b": ("llava-hf/llava-1.5-7b-hf", "b234b804b114d9e37bb655e11cbbb5f5e971b7a9"),
    "llava15_13b": ("llava-hf/llava-1.5-13b-hf", "5dda2880bda009266dda7c4baff660b95ca64540"),
    "qwen25_vl_7b": ("Qwen/Qwen2.5-VL-7B-Instruct", "cc594898137f460bfe9f0759e9844b3ce807cfb5"),
    "smolvlm": ("HuggingFaceTB/SmolVLM-Instruct", "81cd9a775a4d644f2faf4e7becff4559b46b14c7"),
    "internvl3_2b": ("OpenGVLab/InternVL3-2B-hf", "cb57a075cb75a2e6d1b668b128d48bb00ae321d2"),
}


def differences(ours: Any, theirs: Any, path: str) -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [line for key in ours for line in differences(ours[key], theirs.get(key), f"{path}.{key}")]
    return [] if ours == theirs else [f"{path}: {ours!r} here, {theirs!r} there"]


def main() -> int:
    wrong = 0
    for name, (repository, revision) in REVISIONS.items():
        settings = json.loads((CONFIGS / f"{name}.json").read_text())
        ours = AutoConfig.for_model(settings.pop("model_type"), **settings)
        theirs = AutoConfig.from_pretrained(repository, revision=revision)
        parts = [part for part in ("text_config", "vision_config") if hasattr(ours, part)]
        found = [
            line
            for part in parts
            for line in differences(getattr(ours, part).to_dict(), getattr(theirs, part).to_dict(), part)
            if not line.partition(":")[0].endswith(("dtype", "transformers_version", "_name_or_path", "architectures"))
        ]
        wrong += bool(found)
        print(f"{repository} at {revision}: {'; '.join(found) or 'equal'}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
