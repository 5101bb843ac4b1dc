"""Times the passes of `cargo bench --workspace --bench language` with PyTorch and transformers.

    pip install torch transformers
    python benches/peers/forward.py --threads 1

Prints, for each pass, the least and the median of the times in milliseconds.
"""

import argparse
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49_152,
    max_position_embeddings=2048,
    rms_norm_eps=1e-5,
    hidden_act="silu",
    tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--attention", default="eager", choices=["eager", "sdpa"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = LlamaForCausalLM._from_config(CONFIG, attn_implementation=arguments.attention)
    model = model.eval()
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.attention}")
    with torch.no_grad():
        for length in [1, 10, 64, 256, 1024]:
            tokens = prompt(length)
            report(f"prompt of {length}", arguments.runs, lambda: model(tokens))
        report("32 tokens generated after 10", arguments.runs, lambda: generate(model))


def prompt(length):
    return torch.tensor([[index * 7919 % CONFIG.vocab_size for index in range(length)]])


def generate(model):
    output = model(prompt(10), use_cache=True)
    for token in range(31):
        cache = output.past_key_values
        output = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)


def report(name, runs, run):
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    print(f"{name}: least {min(times):.1f} ms, median {statistics.median(times):.1f} ms")


if __name__ == "__main__":
    main()
