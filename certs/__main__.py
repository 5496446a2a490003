"""``python -m certs``: what ``headgate certs`` becomes."""

import os
import sys
from importlib.util import find_spec

if __name__ == "__main__":
    if find_spec("cryptography") is None:
        sys.exit("headgate certs: a library is missing\n  -> pip install 'headgate[certs]'")
    from certs.cli import main

    sys.exit(main(sys.argv[1:], os.environ))
