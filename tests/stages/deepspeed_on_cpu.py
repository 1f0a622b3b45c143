"""DeepSpeed's engine on DeepSpeed's own CPU accelerator, which Lightning does not let through."""

import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy


class DeepSpeedOnCPU(DeepSpeedStrategy):
    """All is Lightning's, but for its checks that there are GPUs, with numbers; set DS_ACCELERATOR=cpu."""

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu", self.local_rank)

    def setup_environment(self) -> None:
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        self._init_deepspeed_distributed()
