"""A check for packages of a user that hide one of ours by its name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from xbar.hardware.errors import ROOT


def check_not_hidden(*names: str) -> None:
    """Refuse to go on where another package of a name is found before ours.

    Python takes the first package of a name on ``sys.path``, which is often the folder of a user's script.
    The import of a module that only our package has would then fail with a message that does not say why.

    Raises
    ------
    ImportError
        With the folder that hides ours.
    """
    for name in names:
        spec = importlib.util.find_spec(name)
        places = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
        if spec is not None and ROOT / name not in places:
            found = places[0] if places else spec.origin
            raise ImportError(
                f"xbar: {found} hides the package '{name}' of xbar-codesign; rename it, or import from a "
                "folder that does not hold it"
            )
