"""``python -m lightning_n2m fit|validate|test|predict|export``."""

from lightning_n2m.cli.main import main

if __name__ == "__main__":
    main()
