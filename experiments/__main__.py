"""`python -m experiments {list, run, record, report, bench}`."""

import sys

from experiments.harness.command_line import main

sys.exit(main(sys.argv[1:]))
