"""The command of the package as a module: ``python -m textgym``, where the script ``textgym`` is not on the path."""

from textgym.cli import main

if __name__ == "__main__":
    main()
