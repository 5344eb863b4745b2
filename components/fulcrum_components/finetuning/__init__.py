"""Fine-tuning: training a compressed module further, with the original as teacher."""

from fulcrum_components.finetuning.trainer import FinetuneResult, choose_device, finetune

__all__ = ["FinetuneResult", "choose_device", "finetune"]
