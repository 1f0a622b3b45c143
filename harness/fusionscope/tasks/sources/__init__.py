"""Where rows and images come from: files, tables, archives, the hub; for held-out tasks and training data alike."""

from fusionscope.tasks.sources.folder import ImageFolder, image_folder
from fusionscope.tasks.sources.images import open_image
from fusionscope.tasks.sources.json_file import json_rows
from fusionscope.tasks.sources.readers import HUB, hub_name, missing

__all__ = ["HUB", "ImageFolder", "hub_name", "image_folder", "json_rows", "missing", "open_image"]
