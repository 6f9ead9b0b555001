"""``python -m xgamma``: the command line where no script is installed."""

from xgamma.cli import main

if __name__ == "__main__":
    main()
