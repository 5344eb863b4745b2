"""Fine-tuning: training a compressed module further, with the original as teacher."""

from fulcrum_components.finetuning.finetune import FinetuneResult, choose_device, finetune

__all__ = ["FinetuneResult", "choose_device", "finetune"]
