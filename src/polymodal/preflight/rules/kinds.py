"""Classes that are named where a class of another kind is needed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polymodal.config.run_encoders import FROM_RUN
from polymodal.diagnostics import Diagnostic
from polymodal.errors import ConfigError
from polymodal.security.targets import resolve_target

WRONG_KIND = "wrong kind"
# Sections, and sections of several, to the class that theirs must be derived from.
BASES = {
    "model": "torch.nn.Module",
    "loss": "torch.nn.Module",
    "task": "polymodal.training.tasks.Task",
    "optimizer": "torch.optim.Optimizer",
    "balance": "polymodal.training.modality_balancing.ModalityBalancing",
    "trainer": "pytorch_lightning.Trainer",
}
BASES_OF_EACH = {
    "encoder": "polymodal.encoders.base.Encoder",
    "callbacks": "pytorch_lightning.Callback",
}


def wrong_kinds(config: Mapping[str, Any], projects: Sequence[str] = ()) -> Iterator[Diagnostic]:
    """Find sections whose class is not derived from what the section needs.

    Functions are left to those that call them, and targets that cannot be imported to the rule of
    signatures.

    Args:
        config: The composed configuration, resolved.
        projects: Packages of the user's project.

    Yields:
        A finding for each such section.
    """
    needed = {name: (config.get(name), base) for name, base in BASES.items()}
    for group, base in BASES_OF_EACH.items():
        sections = config.get(group)
        for name, section in sections.items() if isinstance(sections, Mapping) else ():
            needed[f"{group}.{name}"] = (section, base)
    for key, (section, base) in needed.items():
        if not isinstance(section, Mapping) or "_target_" not in section or section.get(FROM_RUN):
            continue
        try:
            target = resolve_target(str(section["_target_"]), key, projects)
        except ConfigError:
            continue
        needed_class = resolve_target(base, key)
        assert isinstance(needed_class, type)
        if isinstance(target, type) and not issubclass(target, needed_class):
            yield Diagnostic(
                WRONG_KIND,
                key,
                f"{section['_target_']} cannot be used as {key}",
                f"a class derived from {base}",
                f"name such a class as {key}._target_, or choose an option of the group",
            )
