"""A few steps of DPO or of a reward model by TRL with LoRA, timed; prints one JSON line.

python trl_pairs.py '{"objective": "dpo", "base": …, …}' PAIRS.jsonl
"""

from __future__ import annotations

import json
import sys
import tempfile
import time


def main() -> None:
    given, path = json.loads(sys.argv[1]), sys.argv[2]
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
    )
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    is_reward = given["objective"] == "reward"
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: object, **kwargs: object) -> None:
            marks.append((time.monotonic(), time.process_time()))

        def on_step_end(self, *args: object, **kwargs: object) -> None:
            marks.append((time.monotonic(), time.process_time()))

    shared = {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": given["steps"],
        "per_device_train_batch_size": given["micro_batch"],
        "gradient_accumulation_steps": given["batch"] // given["micro_batch"],
        "learning_rate": given["rate"],
        "lr_scheduler_type": "linear",
        "adam_beta2": 0.95,
        "max_length": 1024,
        "bf16": True,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 20,
    }
    kind = AutoModelForSequenceClassification if is_reward else AutoModelForCausalLM
    trainer_of = RewardTrainer if is_reward else DPOTrainer
    args = RewardConfig(**shared) if is_reward else DPOConfig(**shared, beta=given["beta"])
    trainer = trainer_of(
        model=kind.from_pretrained(given["base"], dtype=torch.bfloat16),
        args=args,
        train_dataset=load_dataset("json", data_files=path, split="train"),
        processing_class=AutoTokenizer.from_pretrained(given["base"]),
        callbacks=[Clock()],
        peft_config=LoraConfig(
            r=given["rank"], lora_alpha=given["alpha"], lora_dropout=0.0,
            target_modules="all-linear", task_type="SEQ_CLS" if is_reward else "CAUSAL_LM",
        ),
    )  # fmt: skip
    trainer.train()
    print(
        json.dumps(
            {
                "seconds": marks[-1][0] - marks[0][0],
                "cpu_seconds": marks[-1][1] - marks[0][1],
                "pairs": given["steps"] * given["batch"],
                "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
            }
        )
    )


if __name__ == "__main__":
    main()
