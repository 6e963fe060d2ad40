"""What one translation knows besides the request: the model's abilities, the settings, and what it left out so far."""

from typing import final

from protocol.translate.capabilities import Capabilities
from protocol.translate.fields import refusal


@final
class Scope:
    """The running account of one translation."""

    __slots__ = ("betas", "capabilities", "drop_unsupported", "omitted")

    def __init__(self, capabilities: Capabilities, *, drop_unsupported: bool) -> None:
        self.capabilities = capabilities
        self.drop_unsupported = drop_unsupported
        self.omitted: list[str] = []
        self.betas: set[str] = set()

    def omit(self, path: str) -> None:
        """Note that a field was left out by a documented rule."""
        self.omitted.append(path)

    def cannot_carry(self, path: str, message: str, code: str = "unsupported_value") -> None:
        """Refuse what has no counterpart upstream, or leave it out where the operator asked for that.

        :raises Refusal: 400 that names the field, unless the drop setting is on.
        """
        if not self.drop_unsupported:
            raise refusal(path, message, code)
        self.omit(path)
