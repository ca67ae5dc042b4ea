"""``python -m distok``, for launchers that start modules."""

from distok.cli import main

if __name__ == "__main__":
    main()
