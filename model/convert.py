"""One layout of weights into the other: `python -m model.convert FROM TO --layout qwen2 [--dtype bfloat16]`

FROM is a checked folder (see model/weights.py); no model is built, so memory holds one shard. The qwen2
layout is what Hugging Face's AutoModelForCausalLM loads without remote code.
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from model.layouts import LAYOUTS
from model.weights import open_checkpoint, save_checkpoint

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m model.convert", description=__doc__)
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO", help="a folder that does not exist yet")
    parser.add_argument("--layout", choices=LAYOUTS, required=True)
    parser.add_argument("--dtype", choices=DTYPES, help="of the new files; default: as stored")
    parser.add_argument("--eos", type=int, help="id that ends a text, for config.json (151643 in Qwen)")
    given = parser.parse_args(arguments)
    try:
        stored = open_checkpoint(given.source)
        save_checkpoint(
            stored,
            stored.config,
            given.target,
            layout=given.layout,
            dtype=DTYPES[given.dtype] if given.dtype else stored.dtype,
            eos=given.eos,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{given.target}: {stored.config.parameters:,} parameters from {stored.layout} to {given.layout}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
