"""pandas, imported when something of it is asked for: a model of arrays never pays for it.

    if TYPE_CHECKING:
        import pandas as pd
    else:
        from runbake_serving.model.pandas_later import pd

It is not put into `sys.modules` before: scikit-learn looks there to tell whether a table can be pandas'.
"""

from __future__ import annotations

import importlib
from typing import Any


class _Later:
    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module("pandas"), name)
        setattr(self, name, value)
        return value


pd: Any = _Later()
