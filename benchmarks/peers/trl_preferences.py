"""The losses of one batch of pairs by TRL in float32, as one JSON line.

python trl_preferences.py PARENT_FOLDER POLICY_FOLDER SCORER_FOLDER PAIRS.jsonl BETA
"""

from __future__ import annotations

import json
import sys
import tempfile


def main() -> None:
    from datasets import load_dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    parent, policy, scorer, path, beta = sys.argv[1:]
    rows = load_dataset("json", data_files=path, split="train")
    shared = {
        "per_device_train_batch_size": len(rows),
        "max_steps": 1,
        "learning_rate": 0.0,
        "logging_steps": 1,
        "max_length": None,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }

    def loss(trainer: object) -> float:
        trainer.train()
        return next(row["loss"] for row in trainer.state.log_history if "loss" in row)

    found = {
        name: loss(
            DPOTrainer(
                model=AutoModelForCausalLM.from_pretrained(policy, dtype="float32"),
                ref_model=AutoModelForCausalLM.from_pretrained(parent, dtype="float32"),
                args=DPOConfig(
                    output_dir=tempfile.mkdtemp(), loss_type=[theirs], beta=float(beta), **shared
                ),
                train_dataset=rows,
                processing_class=AutoTokenizer.from_pretrained(parent),
            )
        )
        for name, theirs in (("dpo", "sigmoid"), ("ipo", "ipo"))
    }
    found["reward"] = loss(
        RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(scorer, dtype="float32"),
            args=RewardConfig(output_dir=tempfile.mkdtemp(), **shared),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(scorer),
        )
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
