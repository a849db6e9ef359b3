"""A small Llama on the bytes of a text, by Hugging Face's Trainer. It knows nothing of forescale: hf.toml sweeps it.

python hf_train.py --data text.txt --output_dir out --learning_rate 3e-3 --max_steps 100
"""

import argparse
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--output_dir", required=True)
parser.add_argument("--learning_rate", type=float, default=3e-3)
parser.add_argument("--weight_decay", type=float, default=0.1)
parser.add_argument("--batch_size", type=int, default=8)
parser.add_argument("--seq_len", type=int, default=64)
parser.add_argument("--max_steps", type=int, default=100)
parser.add_argument("--depth", type=int, default=2)
parser.add_argument("--width", type=int, default=32)
parser.add_argument("--heads", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


def windows(data: bytes) -> list[dict[str, list[int]]]:
    """Sequences of `seq_len` bytes, each its own labels: the model shifts them."""
    starts = range(0, len(data) - args.seq_len, args.seq_len)
    return [{"input_ids": (piece := list(data[start : start + args.seq_len])), "labels": piece} for start in starts]


def main() -> None:
    """Train, evaluate, and keep trainer_state.json, in which the rule of hf.toml finds the loss."""
    set_seed(args.seed)
    data = Path(args.data).read_bytes()
    cut = int(0.9 * len(data))
    sizes = {"hidden_size": args.width, "intermediate_size": 3 * args.width, "num_hidden_layers": args.depth}
    config = LlamaConfig(vocab_size=256, num_attention_heads=args.heads, max_position_embeddings=args.seq_len, **sizes)
    arguments = TrainingArguments(
        output_dir=args.output_dir,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        per_device_train_batch_size=args.batch_size,
        max_steps=args.max_steps,
        lr_scheduler_type="linear",
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=args.seed,
    )
    model = LlamaForCausalLM(config)
    trainer = Trainer(model=model, args=arguments, train_dataset=windows(data[:cut]), eval_dataset=windows(data[cut:]))
    trainer.train()
    trainer.evaluate()
    trainer.save_state()


if __name__ == "__main__":
    main()
