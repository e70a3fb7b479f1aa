"""Where a file's source lies: the git repository around it, read from its folder, without git."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from openlineage.client.git import get_git_branch, get_git_repo_url, get_git_version

from lineage.openlineage.facts import Code, public_url


def code_of(path: Path) -> Code | None:
    """The repository, path and commit of a file; None outside of one, or where it has no remote."""
    full = path.resolve()
    for folder in full.parents:
        if (folder / ".git").is_dir():
            code = _repository(folder)
            inside = str(full.relative_to(folder))
            return code and Code(url=code.url, path=inside, commit=code.commit, branch=code.branch)
    return None


@lru_cache(maxsize=16)
def _repository(folder: Path) -> Code | None:
    git = folder / ".git"
    url = public_url(get_git_repo_url(git_dir=git) or "")
    if url is None:
        return None
    return Code(url=url, commit=get_git_version(git), branch=get_git_branch(git))
