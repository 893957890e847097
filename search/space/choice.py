"""The type of `--space`: on the command line a name or a file, and in Python also a space in any of its forms."""

from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from search.space.space import Space


def _show(choice: Any) -> list[str]:
    return [choice if isinstance(choice, str) else f"{len(choice)} axes"]


SpaceChoice = Annotated[
    str | Space | dict[str, Any],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="core|wide|FILE",
        instance_from_str=lambda texts: texts[0],
        is_instance=lambda choice: True,
        str_from_instance=_show,
    ),
]
