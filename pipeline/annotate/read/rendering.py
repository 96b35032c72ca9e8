"""Instruction data rendered to text: several fields of a record, or a list of chat messages, as paragraphs.

Alpaca's instruction, input and output, OpenAI's messages ({role, content}) and ShareGPT's conversations
({from, value}) all become what a pretraining document is: paragraphs with a blank line between them, without
any chat template. A record is rendered whole or not at all.
"""

from collections.abc import Mapping
from typing import Any

# Role of the recipe's `fields` -> name in the file. "text" may also be a tuple of names; "messages" names a
# list of messages, which "roles" (role -> what stands before its messages) is about.
FieldNames = Mapping[str, Any]

_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}  # OpenAI's names work in `roles` for both
_SYSTEM = "system"


def rendered_names(fields: FieldNames) -> tuple[str, ...]:
    """The fields that a text is rendered from; none if it stands in one field as it is."""
    if fields.get("messages"):
        return (fields["messages"],)
    text = fields.get("text", "text")
    return () if isinstance(text, str) else tuple(text)


def render_record(record: Mapping[str, Any], fields: FieldNames) -> tuple[str, str]:
    """(text, reason) of a record for which there are `rendered_names`: one of the two is empty.

    Reasons: missing_text, if one of several text fields is not there or neither a string nor null;
    bad_messages. Empty parts are left out; what has none at all is an empty text.
    """
    names = rendered_names(fields)
    if fields.get("messages"):
        return _render_messages(record.get(names[0]), fields.get("roles") or {})
    parts = [record.get(name, 0) for name in names]
    if not all(part is None or isinstance(part, str) for part in parts):
        return "", "missing_text"
    return _join([part or "" for part in parts]), ""


def _render_messages(messages: object, roles: Mapping[str, str]) -> tuple[str, str]:
    if not isinstance(messages, list):
        return "", "bad_messages"
    parts = []
    for message in messages:
        if not isinstance(message, dict):
            return "", "bad_messages"
        # In Parquet a message has every key that any message has, most of them null.
        names = ("from", "value") if message.get("role") is None else ("role", "content")
        role, content = (message.get(name) for name in names)
        if not isinstance(role, str) or not isinstance(content, str):
            return "", "bad_messages"
        role = role if role in roles else _SHAREGPT_ROLES.get(role, role)
        if content.strip() and (role != _SYSTEM or _SYSTEM in roles):
            parts.append(roles.get(role, "") + content.strip("\r\n"))
    return _join(parts), ""


def _join(parts: list[str]) -> str:
    return "\n\n".join(part.strip("\r\n") for part in parts if part.strip())
