"""The whole router in one thread without a socket: bytes in, bytes out, and a clock that moves when told.

Run it with ``python -m examples.drive_by_hand``. It plays a client and the provider around the real core.
"""

from protocol.config import Config
from protocol.identity.tokens import issue
from protocol.values import Secret
from transports.memory import EPOCH, MemoryShell

SECRET = Secret("a secret of at least thirty-two bytes")


def main() -> None:
    config = Config.parse({"TOKEN_SECRET": SECRET.reveal(), "CLAUDE_CODE_HOME": "/home"}, home=None)
    login = b'{"claudeAiOauth": {"accessToken": "sk-ant-oat01-the-real-one"}}'
    shell = MemoryShell(config, {"/home/.credentials.json": login})

    # A token, as `tokens issue` makes it; the clock and the randomness are arguments.
    issued = issue(SECRET, ttl_hours=1, label="alice", wall=EPOCH, entropy=lambda size: bytes(size))
    token = issued.token.reveal().encode()

    # The client's request, as raw bytes.
    body = b'{"model": "claude-opus-5-5", "max_tokens": 9, "messages": []}'
    client = shell.client()
    client.sends(
        b"POST /v1/messages HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (token, len(body), body)
    )

    # The router has dialled the provider and sent the request there, with the operator's credential in it.
    provider = shell.dialled.popleft()
    print(f"to {provider.origin}:\n{provider.taken().decode()}\n")

    # The provider streams; each of its writes reaches the client at once.
    provider.sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    provider.sends(b'1c\r\nevent: ping\ndata: {"a": 1}\n\n\r\n')
    print(f"to the client:\n{client.taken().decode()}\n")

    # Half a minute of silence: a comment keeps whatever stands between awake.
    shell.advance(30)
    print(f"after 30 s: {client.taken()!r}")

    # The provider's connection is torn: the client can tell that this was not the end.
    provider.breaks()
    print(f"after the cut: {client.taken()!r}, closed: {client.closed}")


if __name__ == "__main__":
    main()
