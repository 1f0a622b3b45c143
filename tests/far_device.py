"""A device of its own where there is none: tensors of ``far`` are CPU tensors that mix with others as a GPU's do.

An operation on tensors of both devices fails, but for single numbers and for what an accelerator allows; so does a
random number drawn there by a generator of the CPU. Whatever makes the CPU wait for the device is counted.

    with FarDevice() as device:
        y = f(x.to("far"))
    device.waits
"""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("far")

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
TAKES_POSITIONS = {"index", "index_put", "index_put_", "_index_put_impl_"}  # which may be on the CPU
MOVES = {"_to_copy", "copy_"}


class FarTensor(torch.Tensor):
    """A tensor of the far device; ``here`` holds its numbers."""

    @staticmethod
    def __new__(cls, here):
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        far = torch.Tensor._make_wrapper_subclass(cls, here.size(), device=torch.device("far:0"), **layout)
        far.here = here
        return far

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents=None):
        return f"far {self.here!r}"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on a far tensor outside of FarDevice()")


def _empty_strided(size, stride, **options):
    return FarTensor(torch.empty_strided(size, stride, dtype=options.get("dtype")))


def _copy_(into, x, non_blocking=False):
    into.here.copy_(_here(x))
    return into


# torch.tensor(..., device="far") comes here without being dispatched by a mode.
_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
_LIBRARY.impl("copy_", _copy_, "PrivateUse1")


class FarDevice(TorchDispatchMode):
    """Runs operations on far tensors, and refuses those that an accelerator would."""

    def __init__(self):
        super().__init__()
        self.waits = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, dict(kwargs or {})
        leaves = [*_leaves(args), *_leaves(kwargs.values())]
        far = [x for x in leaves if isinstance(x, FarTensor)]
        is_far = bool(far)
        if kwargs.get("device") is not None:
            is_far = torch.device(kwargs["device"]).type == "far"
            kwargs["device"] = torch.device("cpu")
        if name == "copy_":
            is_far = isinstance(args[0], FarTensor)
        self._refuse(name, args, leaves, is_far)
        if far and (name in WAITS or (name == "_to_copy" and not is_far) or _picks_by_mask(name, args)):
            self.waits[name] += 1
        by_content = {id(x.here): x for x in far}
        found = func(*map(_here, args), **{key: _here(x) for key, x in kwargs.items()})

        def there(x):
            return by_content.get(id(x), FarTensor(x) if is_far else x) if _is_near(x) else x

        return type(found)(map(there, found)) if type(found) in (tuple, list) else there(found)

    def _refuse(self, name, args, leaves, is_far):
        near = [x for x in leaves if _is_near(x) and x.ndim]
        if name in TAKES_POSITIONS and len(args) > 1:
            near = [x for x in near if not any(x is position for position in args[1])]
        if near and any(isinstance(x, FarTensor) for x in leaves) and name not in MOVES:
            raise RuntimeError(f"{name}: a tensor of shape {tuple(near[0].shape)} is on the CPU, others are far")
        if is_far and any(isinstance(x, torch.Generator) for x in leaves):
            raise RuntimeError(f"{name}: a generator of the CPU for a far tensor")


def _leaves(some):
    """What some arguments are or hold; operations nest no deeper."""
    for x in some:
        if isinstance(x, (tuple, list)):
            yield from x
        else:
            yield x


def _here(x):
    if isinstance(x, (tuple, list)):
        return type(x)(map(_here, x))
    return x.here if isinstance(x, FarTensor) else x


def _is_near(x):
    return isinstance(x, Tensor) and not isinstance(x, FarTensor)


def _picks_by_mask(name, args):
    return name == "index" and any(isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1])
