"""Parts as a job array of SLURM: submitted as planned, cancelled in the middle, and finished."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

import slaf
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, unaccounted
from tests.conversion.slurm import slurm, wait_until, why_not

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

N_PARTS = 12


def test_an_array_that_is_cancelled_in_the_middle(tmp_path: Path) -> None:
    """The printed array is cancelled, the missing parts are submitted: the dataset of one process.

    `slaf publish` in a job of its own refuses the gaps, and publishes after the second array.
    """
    source = write_h5ad(tmp_path / "in.h5ad", counts(500 * N_PARTS, 400))
    slaf.convert(source, tmp_path / "one.slaf", chunk_size=500)
    output, folder = tmp_path / "many.slaf", tmp_path / "cluster"
    folder.mkdir()
    publish = f"sbatch --wrap='slaf publish {output}'"
    with slurm(folder) as cluster:
        plan = json.loads(cluster.run(f"slaf plan {source} {output} --chunk-size 500 --json"))
        array = cluster.submit(plan["command"])
        wait_until(lambda: len(list(output.glob(".parts/*/part-*.json"))) >= 3)
        cluster.run(f"scancel {array}")
        cluster.wait(array)
        early = cluster.submit(publish, f"--dependency=afterany:{array}")
        cluster.wait(early)
        (missing,) = re.findall(
            r"parts? (?:is|are) missing.* (--array=[\d,-]+\d)", cluster.printed(early)
        )
        again = cluster.submit(re.sub(r"--array=\S+", missing, plan["command"]))
        cluster.wait(cluster.submit(publish, f"--dependency=afterok:{again}"))
        done = slaf.open(output)
        assert done.n_cells == 500 * N_PARTS
    assert output_of(output) == output_of(tmp_path / "one.slaf")
    assert not unaccounted(output)
    assert slaf.verify(output, source).ok
