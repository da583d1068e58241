"""Names that figures show: those between two dollar signs are set as mathematics."""

from __future__ import annotations

from xbar.hardware.errors import XbarError


def check_label(key: str, name: str) -> None:
    """Refuse a name whose mathematics matplotlib cannot set: the figures are drawn after all the work.

    Raises
    ------
    XbarError
        With the key, the name and what is wrong with it.
    """
    if name.count("$") - name.count("\\$") < 2:
        return
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(name)
    except ValueError as error:
        reason = str(error).strip().splitlines()[-1]
        raise XbarError(
            f"{key} = {name!r}: what stands between $ is mathematics, and this is none ({reason}); write "
            "\\\\$ for a dollar sign"
        ) from None
