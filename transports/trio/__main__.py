"""``python -m transports.trio``: the router on trio, with the same options as the command line."""

from cli.root import main

if __name__ == "__main__":
    main(transport="trio")
