"""Vision-language models of any known family behind one interface."""

from fusionscope.lvlm.adapters import Adapter, Features, MropeAdapter, ProjectedAdapter, StreamAdapter, TiledAdapter
from fusionscope.lvlm.batch import Batch, PaddingSide, stack
from fusionscope.lvlm.encoders import (
    Encoded,
    Encoder,
    ExpandingEncoder,
    ImageFirstEncoder,
    LeadingImageEncoder,
    Rendered,
)
from fusionscope.lvlm.family import PART_NAMES, Family, PartName, PartTable
from fusionscope.lvlm.features import FeatureCache
from fusionscope.lvlm.fingerprint import weights_fingerprint
from fusionscope.lvlm.miniatures import miniature
from fusionscope.lvlm.model import LVLM, repeat_cache
from fusionscope.lvlm.offload import execution_device, module_dtype
from fusionscope.lvlm.packing import PACKED_TOKENS, CannotPack, ImageInputs, PackedRows, packed_rows
from fusionscope.lvlm.parts import modules_of, parameters_by_part
from fusionscope.lvlm.processor import PROCESSOR_ERRORS, ComposedProcessor, load_processor
from fusionscope.lvlm.prompt import IMAGE, Prompt, PromptForm, common_prefix
from fusionscope.lvlm.quiet import undisturbed
from fusionscope.lvlm.register import family_of, family_of_checkpoint, family_of_model, known_model_types

__all__ = [
    "IMAGE",
    "LVLM",
    "PACKED_TOKENS",
    "PART_NAMES",
    "PROCESSOR_ERRORS",
    "Adapter",
    "Batch",
    "CannotPack",
    "ComposedProcessor",
    "Encoded",
    "Encoder",
    "ExpandingEncoder",
    "Family",
    "FeatureCache",
    "Features",
    "ImageFirstEncoder",
    "ImageInputs",
    "LeadingImageEncoder",
    "MropeAdapter",
    "PackedRows",
    "PaddingSide",
    "PartName",
    "PartTable",
    "ProjectedAdapter",
    "Prompt",
    "PromptForm",
    "Rendered",
    "StreamAdapter",
    "TiledAdapter",
    "common_prefix",
    "execution_device",
    "family_of",
    "family_of_checkpoint",
    "family_of_model",
    "known_model_types",
    "load_processor",
    "miniature",
    "module_dtype",
    "modules_of",
    "packed_rows",
    "parameters_by_part",
    "repeat_cache",
    "stack",
    "undisturbed",
    "weights_fingerprint",
]
