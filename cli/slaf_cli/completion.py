"""Completion for a shell that is named, and in zsh from the first Tab on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["complete_at_once", "take_shell"]

_INSTALL, _SHOW = "--install-completion", "--show-completion"
# With it typer takes the name of a shell; without it, the shell that called.
_NAMED = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"
# zsh loads the file at the first Tab, which typer's script alone leaves unanswered.
_FIRST = '[[ $funcstack[1] = _slaf ]] && _slaf_completion "$@"\n'


def take_shell(words: Sequence[str]) -> None:
    """Let a shell be named after the options of completion: `--show-completion zsh`."""
    option, _, shell = " ".join(words[:2]).replace("=", " ").partition(" ")
    if option in {_INSTALL, _SHOW} and shell:
        os.environ[_NAMED] = "1"


def complete_at_once(words: Sequence[str]) -> None:
    """After an installation for zsh, make its file complete when it is loaded too."""
    path = Path.home() / ".zfunc" / "_slaf"
    if words and words[0].partition("=")[0] == _INSTALL and path.is_file():
        script = path.read_text()
        if not script.endswith(_FIRST):
            path.write_text(f"{script.rstrip()}\n{_FIRST}")
