"""`python -m pipeline.cli` is `streamfold`."""

from pipeline.cli.main import main

main()
