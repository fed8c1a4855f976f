"""The plugin, as Pulumi's engine starts it.

It runs from its folder, and needs the repository that the folder is in.
"""

import sys
from pathlib import Path

from pulumi.provider.experimental import component_provider_host

_ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))
    from infra.package.components import COMPONENTS
    from infra.package.ownership import PACKAGE_NAME

    component_provider_host(COMPONENTS, PACKAGE_NAME)
