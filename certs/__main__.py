"""``python -m certs``: what ``headgate certs`` becomes."""

import os
import sys

from certs.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
