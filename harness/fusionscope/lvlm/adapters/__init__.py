"""Adapters that several families share; each family's own stands in its file."""

from fusionscope.lvlm.adapters.base import Adapter, Features
from fusionscope.lvlm.adapters.mrope import MropeAdapter
from fusionscope.lvlm.adapters.projected import ProjectedAdapter
from fusionscope.lvlm.adapters.stream import StreamAdapter
from fusionscope.lvlm.adapters.tiled import TiledAdapter

__all__ = ["Adapter", "Features", "MropeAdapter", "ProjectedAdapter", "StreamAdapter", "TiledAdapter"]
