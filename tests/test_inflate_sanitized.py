"""The kernel that inflates chunks, built with sanitizers, meets streams of any bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[1] / "slaf" / "kernels"
_FLAGS = ["-std=c99", "-O1", "-g", "-shared", "-fPIC", "-fsanitize=address,undefined"]

# Streams of zlib, most of them changed or cut: what zlib refuses is refused, and all else is equal.
_CHILD = """
import ctypes, random, sys, tempfile, zlib
import numpy as np
from slaf.kernels.compiled import CompiledKernels
from slaf.kernels.reference import Windows

kernels, rnd = CompiledKernels(ctypes.CDLL(sys.argv[1])), random.Random(int(sys.argv[2]))
accepted = 0

def raw_of(size):
    rng = np.random.default_rng(rnd.randrange(10**6))
    kind = rnd.randrange(3)
    if kind == 0:
        counts = rng.poisson(rnd.choice([0.01, 0.2, 2]), size)
        return counts.astype(rnd.choice(["u1", "f4"])).tobytes()[:size]
    if kind == 1:
        return rng.integers(0, rnd.choice([3, 20, 256]), size, np.uint8).tobytes()
    return np.minimum(rng.geometric(0.5, size) - 1, 255).astype(np.uint8).tobytes()

def packed_of(raw):
    level, window, strategy = rnd.randrange(10), rnd.randrange(9, 16), rnd.randrange(5)
    packer = zlib.compressobj(level, zlib.DEFLATED, window, 9, strategy)
    packed, fault = bytearray(packer.compress(raw) + packer.flush()), rnd.random()
    if fault < 0.6:
        for _ in range(rnd.randrange(1, 4)):
            at = rnd.randrange(min(len(packed), rnd.choice([8, 80, 10**6])))
            packed[at] ^= 1 << rnd.randrange(8)
    elif fault < 0.7:
        del packed[rnd.randrange(1, len(packed)):]
    elif fault < 0.75:
        packed = bytearray(b"\\x78\\x9c" + rnd.randbytes(rnd.randrange(400)))
    return bytes(packed)

def inflated(packed, size):
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, size + 1)
    except zlib.error:
        return None
    return raw if len(raw) == size and inflater.eof and not inflater.unused_data else None

with tempfile.TemporaryFile() as file:
    for _ in range(int(sys.argv[3])):
        size = rnd.choice([1, 40, 300, 4000, 16384, 131072])
        both = [packed_of(raw_of(size)), packed_of(raw_of(size))]
        file.seek(0)
        file.truncate()
        file.write(b"".join(both))
        file.flush()
        starts, sizes = np.array([[0, len(both[0])], [len(packed) for packed in both]], np.uint64)
        windows = Windows(rnd.choice([1, 2]), int(sizes.max()) + rnd.choice([0, 9, 4000]))
        out = np.zeros((2, size), np.uint8)
        for order in ([0, 1], [1, 0]):
            done = kernels.inflate(file.fileno(), starts[order], sizes[order], out, windows)
            expected = [inflated(both[at], size) for at in order]
            assert done == (expected + [None]).index(None), both
            for at in range(done):
                assert out[at].tobytes() == expected[at], both
        accepted += expected[0] is not None
print(accepted)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels with sanitizers."""
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the sanitizers are those of gcc on Linux")
    made = tmp_path_factory.mktemp("sanitized") / "kernels.so"
    words = [compiler, *_FLAGS, "-o", str(made), *map(str, sorted(KERNELS.glob("*.c")))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"gcc has no sanitizers here: {done.stderr[-200:]}")
    return made


def check_streams(library: Path, seed: int, amount: int) -> None:
    """Inflate so many streams in a process that ends at the first access out of bounds."""
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    options = {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "halt_on_error=1",
    }
    words = [sys.executable, "-c", _CHILD, str(library), str(seed), str(amount)]
    done = subprocess.run(
        words, env=os.environ | options, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert amount // 10 < int(done.stdout) < amount  # some are whole, some are not


def test_some_streams(library: Path) -> None:
    """Nothing is read or written out of bounds, whatever a stream holds."""
    check_streams(library, 0, 1_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_many_streams(library: Path, seed: int) -> None:
    """So it is for a hundred thousand."""
    check_streams(library, seed, 12_500)
