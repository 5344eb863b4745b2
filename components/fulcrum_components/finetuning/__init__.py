"""Fine-tuning: training a compressed module further, with the original as teacher."""

from fulcrum_components.finetuning.trainer import FinetuneResult, finetune

__all__ = ["FinetuneResult", "finetune"]
