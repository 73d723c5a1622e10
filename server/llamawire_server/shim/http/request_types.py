"""What the fields of requests are made of."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

# Begins the tags of unions, so that they can be told from field names in the place of an error.
TAG_MARK = "|"

T = TypeVar("T")

# A body has room for millions of bad entries, and to complain of each would take a minute.
List = Annotated[list[T], Field(fail_fast=True)]

_FLOAT32_MAX = (2 - 2**-23) * 2.0**127

Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Float32 = Annotated[float, Field(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]


def _refuse(value: object) -> object:
    if value is None:
        return value
    raise PydanticCustomError("unsupported", "is not supported by this server")


NotSupported = Annotated[None, BeforeValidator(_refuse)]


def _refuse_true(value: object) -> object:
    if value is True:
        raise PydanticCustomError("unsupported", "is not supported by this server")
    return value


# What may be switched off and not on.
NeverTrue = Annotated[bool, BeforeValidator(_refuse_true)]


def supported(*names: str) -> BeforeValidator:
    """Lets these values of a field pass, and calls others by their names as it refuses them."""

    def check(value: object) -> object:
        if isinstance(value, str) and value not in names:
            raise PydanticCustomError(
                "unsupported", "is not supported by this server: {name}", {"name": value[:64]}
            )
        return value

    return BeforeValidator(check)


def check_token_id(key: str) -> str:
    """The key of a `logit_bias`. Raises PydanticCustomError where it is no token id."""
    digits = key[1:] if key.startswith("-") else key
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and -(2**31) <= int(key) < 2**31:
        return key
    raise PydanticCustomError("token_id", "a key must be a token id in decimal digits")


def tag_of_json_type(value: object) -> str | None:
    """Tells the members of a union apart by what they are in JSON."""
    if isinstance(value, str):
        return "|string"
    if isinstance(value, list):
        return "|array"
    return "|object" if isinstance(value, dict) else None


def tag_of_type_field(value: object) -> str | None:
    """Tells the members of a union apart by their `type`."""
    return f"{TAG_MARK}{value['type']}" if isinstance(value, dict) and "type" in value else None


# How Pydantic names the unions whose members are told apart by their `type`.
TYPE_DISCRIMINATOR = tag_of_type_field.__name__


class RequestModel(BaseModel):
    """Takes exactly the fields and types that it declares."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
