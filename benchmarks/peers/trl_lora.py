"""LoRA fine-tuning by TRL with packing, timed; prints one JSON line.

python trl_lora.py '{"base": …, "steps": …, …}' CHATS.jsonl OUT_FOLDER
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    given, chats, out = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    with open(chats, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    config = SFTConfig(
        output_dir=out,
        max_steps=given["steps"],
        per_device_train_batch_size=1,
        gradient_accumulation_steps=given["rows_per_step"],
        learning_rate=given["rate"],
        lr_scheduler_type="linear",
        warmup_steps=max(1, given["steps"] // 10),
        adam_beta2=0.95,
        completion_only_loss=True,
        packing=True,
        max_length=given["row_tokens"],
        include_num_input_tokens_seen="all",
        bf16=True,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        seed=20,
    )
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: object, **kwargs: object) -> None:
            marks.append((time.monotonic(), time.process_time()))

        def on_step_end(self, *args: object, **kwargs: object) -> None:
            marks.append((time.monotonic(), time.process_time()))

    shape = LoraConfig(
        r=given["rank"], lora_alpha=given["alpha"], lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(given["base"], dtype=torch.bfloat16),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(given["base"]),
        callbacks=[Clock()],
        peft_config=shape,
    )
    trainer.train()
    model = trainer.model.merge_and_unload()
    model.to(torch.bfloat16).save_pretrained(out)
    trainer.processing_class.save_pretrained(out)
    print(
        json.dumps(
            {
                "seconds": marks[-1][0] - marks[0][0],
                "cpu_seconds": marks[-1][1] - marks[0][1],
                "tokens": int(trainer.state.num_input_tokens_seen),
                "read": int(trainer.state.num_input_tokens_seen),
                "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
            }
        )
    )


if __name__ == "__main__":
    main()
