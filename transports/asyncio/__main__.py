"""``python -m transports.asyncio``: the router on asyncio, with the same options as the command line."""

from cli.root import main

if __name__ == "__main__":
    main(transport="asyncio")
