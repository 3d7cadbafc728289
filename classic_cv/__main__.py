"""``python -m classic_cv``: the same as the ``classic-cv`` command."""

from classic_cv.cli import main

main()
