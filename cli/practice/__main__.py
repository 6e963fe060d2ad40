"""``python -m cli.practice``: the practice upstream as a process of its own."""

import resource
import signal

import click

from cli.practice.server import PracticeUpstream


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Name or address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
def main(host: str, port: int) -> None:
    """Serve the practice upstream until SIGINT or SIGTERM; the only line on stdout is its origin."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    # Blocked before the server's thread starts, which inherits that: only sigwait below sees them.
    endings = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)
    upstream = PracticeUpstream(host, port)
    try:
        upstream.start()
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host} port {port}: {error.strerror}") from None
    click.echo(upstream.origin)
    signal.sigwait(endings)
    upstream.stop()


if __name__ == "__main__":
    main()
