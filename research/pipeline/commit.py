"""The commit of the code that computes a number: short hash, and whether the code was changed."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "gairlib",
    "research",
    "notebooks",
    "dvc.yaml",
    "params.yaml",
)  # metrics and lock files follow from it


def current(root: Path = ROOT) -> str:
    """ "a1b2c3d", "a1b2c3d, changed" where CODE differs from it, "" without git."""
    try:
        found = _git(root, "rev-parse", "--short=10", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{found}, changed" if changed else found


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()
