"""Stores of QuantNado, one for each BAM file, in single-end mode; run in an environment of its own.

usage: coverage_quantnado.py FOLDER BAM...
"""

from __future__ import annotations

import sys
from pathlib import Path

from quantnado.dataset.store_bam import BamStore


def main() -> None:
    """Make the stores."""
    folder = Path(sys.argv[1])
    for bam in map(Path, sys.argv[2:]):
        output = folder / f"{bam.stem}.zarr"
        # Pairs would count proper pairs only, and test mode or filters some contigs only.
        BamStore.from_bam_files(
            bam, output, "ATAC", bam.stem, paired=False, filter_chromosomes=False
        )


if __name__ == "__main__":
    main()
