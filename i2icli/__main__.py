"""Run the command line as `python -m i2icli`."""

from i2icli.cli.app import main

if __name__ == "__main__":
    main()
