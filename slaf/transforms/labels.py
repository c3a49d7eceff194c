"""Standard labels of perturbations, and the controls among them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from slaf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

__all__ = ["CONTROL_ALIASES", "controls_among", "standard_labels"]

# Names of controls, in lower case, without spaces, hyphens and underscores. A label is compared as
# a whole: "ntc" is within KNTC1, and CTRL is a gene too.
CONTROL_ALIASES: Final = frozenset(
    {
        *("ntc", "nontargeting", "nontarget", "nontargetingcontrol", "safetargeting"),
        *("control", "ctrl", "negativecontrol", "negctrl", "scramble", "scrambled"),
        *("unperturbed", "untreated", "vehicle", "dmso", "mock"),
    }
)


def controls_among(labels: Iterable[object], aliases: Iterable[str] = ()) -> list[str]:
    """The labels that are names of controls, in their order, once each.

    Examples
    --------
    >>> from slaf.transforms.labels import controls_among
    >>> controls_among(["KNTC1", "non-targeting", "TP53", "NTC"])
    ['non-targeting', 'NTC']
    """
    known = CONTROL_ALIASES | {_plain(alias) for alias in aliases}
    return [label for label in dict.fromkeys(map(str, labels)) if _plain(label) in known]


def standard_labels(
    labels: pd.Series[Any],
    *,
    strip_prefix: str | Sequence[str] = (),
    strip_suffix: str | Sequence[str] = (),
    control: str | None = None,
    aliases: Sequence[str] = (),
) -> pd.Series[Any]:
    """Labels of perturbations as categories, with one name for all controls.

    Parameters
    ----------
    labels
        The label of each cell; a missing one stays missing.
    strip_prefix, strip_suffix
        Text to take off, the first of several that is there.
    control
        The name of all controls: of the known names, like NTC, non-targeting or ctrl, and
        `aliases`; None to leave them as they are.
    aliases
        Further names of controls.

    Raises
    ------
    InputError
        If nothing of a label would be left, or no label is a control.

    Examples
    --------
    >>> import pandas, slaf
    >>> labels = pandas.Series(["sg-TP53", "sg-non-targeting", None, "KNTC1"])
    >>> slaf.standard_labels(labels, strip_prefix="sg-", control="NTC").to_list()
    ['TP53', 'NTC', nan, 'KNTC1']
    """
    import pandas as pd

    values = pd.Categorical(labels)
    named = [str(label) for label in values.categories]
    stripped = [_stripped(label, _several(strip_prefix), _several(strip_suffix)) for label in named]
    if control is not None:
        controls = {*controls_among(stripped, [*aliases, control])}
        if not controls:
            listed = ", ".join(map(repr, stripped[:10]))
            msg = f"no label is a control; name theirs by aliases; there are {listed}"
            raise InputError(msg)
        stripped = [control if label in controls else label for label in stripped]
    standard = dict(enumerate(stripped))
    made = pd.Categorical(
        [standard.get(code) for code in values.codes.tolist()],
        categories=list(dict.fromkeys(stripped)),
    )
    return pd.Series(made, index=labels.index, name=labels.name)


def _stripped(label: str, prefixes: Sequence[str], suffixes: Sequence[str]) -> str:
    text = label.strip()
    text = text.removeprefix(next((one for one in prefixes if text.startswith(one)), ""))
    text = text.removesuffix(next((one for one in suffixes if text.endswith(one)), ""))
    if not text:
        msg = f"nothing of the label {label!r} is left; strip less"
        raise InputError(msg)
    return text


def _several(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]", "", label.casefold())
