"""``python -m cli``, and the ``link-assistant-router`` command."""

from cli.root import main

if __name__ == "__main__":
    main()
