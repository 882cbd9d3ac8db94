"""`python -m market_pipeline.cli` is the command line."""

from market_pipeline.cli import main

main()
