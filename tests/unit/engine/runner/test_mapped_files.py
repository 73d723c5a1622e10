"""Pages of mapped files are let go, and come back."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from llamawire_server.engine.runner.mapped_files import release_mapped_files

SMAPS = Path("/proc/self/smaps")
NUM_PAGES = 256


def resident_kilobytes(path: Path) -> int:
    """What this process holds of the mapping of a file."""
    lines = SMAPS.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.endswith(str(path)))
    return next(int(line.split()[1]) for line in lines[start:] if line.startswith("Rss:"))


@pytest.mark.skipif(not SMAPS.exists(), reason="this system does not tell what is mapped")
def test_pages_that_were_read_are_let_go_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    content = b"".join(bytes([page % 251]) * mmap.PAGESIZE for page in range(NUM_PAGES))
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == content
        assert resident_kilobytes(path) == NUM_PAGES * mmap.PAGESIZE // 1024
        release_mapped_files()
        assert resident_kilobytes(path) == 0
        assert mapped[:] == content


@pytest.mark.skipif(not SMAPS.exists(), reason="this system does not tell what is mapped")
def test_a_mapping_that_may_be_written_to_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(bytes(NUM_PAGES * mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[0] = 1
        release_mapped_files()
        assert mapped[0] == 1


def test_a_system_that_does_not_tell_what_is_mapped(tmp_path: Path) -> None:
    release_mapped_files(tmp_path / "maps")
