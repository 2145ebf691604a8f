"""Supervised fine-tuning by TRL, the usual tool, on our examples; prints one JSON line.

python trl_sft.py BASE_FOLDER CHATS.jsonl STEPS BATCH MICRO_BATCH RATE OUT_FOLDER
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    base, chats, steps, batch, micro, rate, out = sys.argv[1:8]
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    with open(chats, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    config = SFTConfig(
        output_dir=out,
        max_steps=int(steps),
        per_device_train_batch_size=int(micro),
        gradient_accumulation_steps=int(batch) // int(micro),
        learning_rate=float(rate),
        lr_scheduler_type="linear",
        warmup_steps=max(1, int(steps) // 10),
        completion_only_loss=True,
        max_length=1024,
        bf16=True,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=20,
    )
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: object, **kwargs: object) -> None:
            marks.append(time.monotonic())

        def on_step_end(self, *args: object, **kwargs: object) -> None:
            marks.append(time.monotonic())

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        callbacks=[Clock()],
    )
    trainer.train()
    trainer.save_model(out)
    print(json.dumps({"seconds": marks[-1] - marks[0], "examples": int(steps) * int(batch)}))


if __name__ == "__main__":
    main()
