"""`clinnlp list`: the plug-ins and what each is for."""

from dataclasses import dataclass
from typing import ClassVar

from clinnlp import config, plugins
from clinnlp.errors import UsageError


@dataclass(frozen=True)
class List:
    """List formats, objectives, tasks, strategies, domains and engines with their meaning; a NAME shows its options."""

    positionals: ClassVar[tuple[str, ...]] = ("name",)

    name: str | None = None
    """A kind (formats, tasks, ...) or a plug-in."""


def run(settings: List) -> int:
    """Print the list."""
    name = settings.name
    kinds = [kind for kind in plugins.KINDS if name in (None, kind)]
    for kind in kinds:
        print(f"{kind}:")
        for plugin in plugins.names(kind):
            print(f"  {plugin:<22} {plugins.meaning(plugins.find(kind, plugin))}")
    owners = [kind for kind in plugins.KINDS if name in plugins.names(kind)]
    for kind in owners:
        found = plugins.find(kind, str(name))
        print(f"{name} ({kind}): {found.__doc__}\n")
        for option, default, meaning in config.describe(found):
            print(f"  {option} ({default})\n      {meaning}")
    if not kinds and not owners:
        raise UsageError(f"{name!r} is neither a kind nor a plug-in", next=f"kinds: {', '.join(plugins.KINDS)}")
    return 0
