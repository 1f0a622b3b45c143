"""Vision-language models of any known family behind one interface."""

from fusionscope.lvlm.adapter import Adapter, Features, known_model_types
from fusionscope.lvlm.batch import Batch
from fusionscope.lvlm.features import FeatureCache
from fusionscope.lvlm.fingerprint import weights_fingerprint
from fusionscope.lvlm.model import LVLM
from fusionscope.lvlm.processor import ComposedProcessor, load_processor
from fusionscope.lvlm.prompt import IMAGE, Prompt
from fusionscope.lvlm.quiet import undisturbed

__all__ = [
    "IMAGE",
    "LVLM",
    "Adapter",
    "Batch",
    "ComposedProcessor",
    "FeatureCache",
    "Features",
    "Prompt",
    "known_model_types",
    "load_processor",
    "undisturbed",
    "weights_fingerprint",
]
