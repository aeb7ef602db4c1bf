"""`python -m archscout`."""

from archscout.cli import main

if __name__ == "__main__":
    main()
