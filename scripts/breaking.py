"""Check that proto/ breaks no caller of the last commit's contract.

What was changed and not yet committed is compared with the last commit; otherwise the last commit is compared
with the one before it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git here; its exit status is an answer."""
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def earlier_commit() -> str | None:
    """The commit to compare with; None where there is none that has a contract."""
    is_changed = bool(git("status", "--porcelain", "--", "proto").stdout)
    commit = "HEAD" if is_changed else "HEAD~1"
    return commit if git("cat-file", "-e", f"{commit}:proto/buf.yaml").returncode == 0 else None


def main() -> int:
    """Compare. Returns the exit status."""
    commit = earlier_commit()
    if commit is None:
        print("breaking changes: there is no earlier contract here to compare with")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        # Not buf's own reading of .git: that clones, which fails in a worktree and in a shallow clone.
        archive = Path(folder) / "contract.tar"
        packed = git("archive", f"--output={archive}", commit, "proto")
        if packed.returncode != 0:
            print(packed.stderr, file=sys.stderr)
            return 1
        compared = subprocess.run(
            [BUF, "breaking", "proto", "--against", f"{archive}#subdir=proto"], cwd=REPOSITORY, check=False
        )
    if compared.returncode == 0:
        print(f"breaking changes: none since {commit}")
    return compared.returncode


if __name__ == "__main__":
    sys.exit(main())
