"""Tasks made from tasks: something is taken away or moved, and the rest stays.

Each returns a task of its own name, whose images carry digests of their own.
"""

from fusionscope.tasks.transforms.images import occlude, shuffle_images
from fusionscope.tasks.transforms.unreadable import UNREADABLE, without_images, without_unreadable
from fusionscope.tasks.transforms.words import shuffle_words

__all__ = ["UNREADABLE", "occlude", "shuffle_images", "shuffle_words", "without_images", "without_unreadable"]
