"""Write the datasets that later releases must read: `python -m tests.compat.make`, once a release.

They go to `datasets/RELEASE`, and what is there already is never touched.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import slaf
from tests.compat.contents import CONTENTS

DATASETS = Path(__file__).parent / "datasets"


def main() -> None:
    """Convert each of the contents."""
    target = DATASETS.absolute() / version("slaf")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # The dataset says where its input was: a name that is the same wherever this runs.
        os.chdir(folder)
        for name, content in CONTENTS.items():
            if (target / name).exists():
                continue
            content().write_h5ad(f"{name}.h5ad")
            slaf.convert(f"{name}.h5ad", target / name, chunk_size=5)


if __name__ == "__main__":
    main()
