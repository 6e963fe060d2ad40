"""Structured output: ``response_format`` and ``text.format`` in the way the model can do it."""

from typing import Final

import msgspec

from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.schema import closed_schema
from protocol.translate.scope import Scope
from protocol.translate.tools import Toolbox, ToolKey, upstream_name

JSON_INSTRUCTION: Final = (
    "Answer with one valid JSON object and nothing else: no text before or after it, no Markdown code fence."
)
"""The last block of ``system`` for ``json_object``, which OpenAI describes as valid JSON of no particular shape."""

ANSWER_TOOL: Final = "json_answer"
"""The answer tool's name, where the client's own name of the format is not free."""


class OutputFormat(msgspec.Struct, frozen=True):
    """At most one of the three is set."""

    native: Block | None = None
    """``output_config.format``"""

    answer_tool: Block | None = None
    """A tool whose input is the answer."""

    instruction: str | None = None
    """Words to add to ``system``."""


def read_format(form: Fields | None, toolbox: Toolbox, scope: Scope) -> OutputFormat:
    """The method for a format: none for text, an instruction for ``json_object``, for ``json_schema`` native
    structured output where the model has it, else a tool whose input is the answer.

    :raises Refusal: 400, the format is malformed, or its schema cannot be enforced.
    """
    if form is None:
        return OutputFormat()
    kind = form.text("type")
    if kind == "json_object":
        return OutputFormat(instruction=JSON_INSTRUCTION)
    if kind == "json_schema":
        # Chat wraps the schema in an object; Responses does not.
        return _read_schema(form.optional_section("json_schema") or form, toolbox, scope)
    if kind != "text":
        scope.cannot_carry(form.at("type"), f"the format {kind!r} cannot be produced")
    return OutputFormat()


def with_answer_tool(choice: Block | None, answer_tool: Block) -> Block | None:
    """The tool choice that makes the model answer through the tool, or None where the client forces another tool.

    Besides tools of the client's that it may call, the model is to call one or the other.
    """
    if choice is None or choice["type"] == "none":
        return {"type": "tool", "name": answer_tool["name"], "disable_parallel_tool_use": True}
    return choice | {"type": "any"} if choice["type"] == "auto" else None


def _read_schema(form: Fields, toolbox: Toolbox, scope: Scope) -> OutputFormat:
    path, schema = form.at("schema"), form.section("schema")
    description = form.optional_text("description")
    if scope.capabilities.structured_outputs:
        closed = closed_schema(schema.values, path)
        if description and "$ref" not in closed:
            closed.setdefault("description", description)
        return OutputFormat(native={"type": "json_schema", "schema": closed})
    if schema.value("type") != "object":
        raise refusal(path, "this model's structured output must be an object")
    name = upstream_name(ToolKey(form.optional_text("name") or ANSWER_TOOL))
    tool: Block = {
        "name": ANSWER_TOOL if name in toolbox.names else name,
        "description": description or "Gives the final answer. Its input is what the user receives.",
        "input_schema": schema.values,
    }
    return OutputFormat(answer_tool=tool)
