"""The pack, as Pulumi starts it: `pulumi preview --policy-pack policies`.

`python -m policies report` runs it without Pulumi.
"""

import sys

from pulumi_policy import PolicyPack

from policies.cli import main
from policies.rules import POLICIES

if __name__ == "__main__":
    if set(sys.argv[1:2]) & main.commands.keys():
        main()
    else:
        PolicyPack("vigil", POLICIES)
