"""Time released code bases on a GPU in turn with ours, by released.py; started by gpu.py alone.

python benchmarks/gpu_released.py DEVICE FOLDER ...
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_time import Allowance

# Ours by the file that their code base has, with the options that make theirs the same.
THEIRS = {
    "models/qs_model.py": {"qs-attn-global": "--model qs --QS_mode global"},
    "models/cut_model.py": {
        "cut": "--model cut --CUT_mode CUT",
        "fastcut": "--model cut --CUT_mode FastCUT",
    },
}


def main() -> None:
    """Compare with each code base, at batch 1; write a line of JSON for each."""
    device, *folders = (word for word in sys.argv[1:] if word != "--quick")
    sizes = ["--size", "256", "--steps", "6", "--warmup", "3"]
    if "--quick" in sys.argv:
        sizes = ["--size", "32", "--steps", "1", "--warmup", "0"]
    script = str(Path(__file__).with_name("released.py"))
    allowance = Allowance()
    for folder, preset, options in wanted(folders):
        for precision in ("float32", "bfloat16"):
            if not allowance.suffices():
                return
            asked = ["--device", device, "--precision", precision, "--preset", preset, *sizes]
            ended = subprocess.run(
                [sys.executable, script, folder, *asked, "--", *options],
                capture_output=True,
                text=True,
                check=False,
            )
            row = {"preset": preset, "precision": precision}
            if ended.returncode == 0:
                row |= json.loads(ended.stdout)
            else:
                sys.stderr.write(ended.stderr)
                said = ended.stderr.strip().splitlines() or ["no message"]
                row["error"] = f"it ended with {ended.returncode}: {said[-1]}"
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


def wanted(folders: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the folder, our preset and their options of each comparison."""
    found = []
    for folder in folders:
        known = [presets for file, presets in THEIRS.items() if (Path(folder) / file).is_file()]
        if not known:
            raise SystemExit(f"{folder} is no code base that is known here: {', '.join(THEIRS)}")
        found += [(folder, preset, options.split()) for preset, options in known[0].items()]
    # A preset of each first.
    yield from sorted(found, key=lambda each: each[1] == "fastcut")


if __name__ == "__main__":
    main()
