"""What Hydra and OmegaConf say of a configuration that cannot be composed, in our words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polymodal.config.override_grammar import OverrideError, as_one_text
from polymodal.config.similar_keys import KnownKeys, group_hint
from polymodal.errors import ConfigError, nearest

PRINT = "`polymodal run --cfg job` prints all options"
DEFAULTS_ENTRY = "- override /model: unimodal"
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


@dataclass(frozen=True)
class Composition:
    """What was to be composed.

    Args:
        config_name: The root: `run`, `vote`, `study` or `corpus`.
        overrides: Those of the command line.
        known_keys: Returns the keys of what can be composed; None if the fault is in a file.
        choices: Returns the options of a group.
        roots: Group to the roots that have it.
    """

    config_name: str
    overrides: Sequence[str]
    known_keys: Callable[[], KnownKeys | None]
    choices: Callable[[str], Sequence[str]]
    roots: Callable[[str], Sequence[str]]

    def override_of(self, key: str) -> str | None:
        """Return the override that sets a key, the last if there are several; None for none."""
        keys = [override.partition("=")[0].lstrip("+~") for override in self.overrides]
        pairs = zip(keys, self.overrides, strict=True)
        return next((override for name, override in [*pairs][::-1] if name == key), None)


def explained(error: BaseException, composition: Composition) -> ConfigError:
    """Return what is wrong with a composition: the key, what was expected, and what to write.

    Args:
        error: Of Hydra or OmegaConf.
        composition: What was to be composed.
    """
    text = _first_line(error)
    for pattern, explain in EXPLANATIONS.items():
        if match := re.search(pattern, text):
            explanation = explain(match, composition, error)
            if explanation is not None:
                return explanation
    return ConfigError(f"the configuration cannot be composed: {text}", hint=PRINT)


def unknown_key(key: str, known_keys: KnownKeys, override: str) -> OverrideError:
    """Return the error for a key that does not exist.

    Args:
        key: The dotted key.
        known_keys: Those that exist.
        override: The override that names it.
    """
    value = override.partition("=")[2]
    message = f"there is no option {key!r}"
    return OverrideError(override, message, hint=known_keys.hint(key, value))


def several_values(override: str) -> OverrideError:
    """Return the error for an override with several values where one is meant."""
    key, _, value = override.partition("=")
    if DECIMAL_COMMA.fullmatch(value):
        number = value.replace(",", ".")
        hint = (
            f"add -m for a run of each; for one number write a point, {key}={number}, "
            f"for a list {key}=[{value}]"
        )
    else:
        hint = (
            f"add -m for a run of each; for a list write {key}=[{value}], "
            f"for one text {as_one_text(key, value)}"
        )
    return OverrideError(override, f"{override!r} names several values", hint=hint)


def _not_overridden(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError | None:
    """A key that does not exist, or a value that does not fit what is there."""
    key = match[1]
    override = composition.override_of(key)
    known_keys = composition.known_keys()
    if known_keys is None:
        return None
    if override is None:
        return ConfigError(
            f"{match[0]} in a file",
            expected=f"a file of the group experiment to begin with # @package _global_, "
            f"and options of groups as in `{DEFAULTS_ENTRY}`",
            hint="compare it with `polymodal run experiment=sample/text --info`",
        )
    value, group = override.partition("=")[2], key.partition(".")[0]
    if hint := group_hint(key, value, composition.choices(group)):
        return OverrideError(override, f"there is no option {key!r}", hint=hint)
    inner = re.search(r"Key '([^']+)' is not in struct", str(error.__cause__ or ""))
    if inner and inner[1] != key.rpartition(".")[2] and known_keys.exists(key):
        return unknown_key(f"{key}.{inner[1]}", known_keys, override)
    if known_keys.exists(key) and composition.choices(key):
        return OverrideError(
            override,
            f"{key}={value} replaces a group, which has options of its own",
            hint=f"set single options as in {key}.NAME=VALUE, or choose with {key}=OPTION",
        )
    return unknown_key(key, known_keys, override)


def _no_such_group(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError | None:
    """A group of another command, or none."""
    group = match[1].partition("@")[0].lstrip("/")
    roots = [root for root in composition.roots(group) if root != composition.config_name]
    override = composition.override_of(group)
    if override is not None and roots:
        return OverrideError(
            override,
            f"`polymodal {composition.config_name}` has no group {group!r}",
            hint=f"it is of another command: polymodal {roots[0]} {override}",
        )
    known_keys = composition.known_keys()
    if override is not None and known_keys is not None:
        return unknown_key(group, known_keys, override)
    return ConfigError(
        f"a defaults list overrides the group '{group}', which there is not",
        expected=f"a group of `polymodal {composition.config_name}`, as in `{DEFAULTS_ENTRY}`",
        hint="begin the file with # @package _global_, and write the / before the group",
    )


def _no_such_choice(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError:
    group, _, option = match[1].partition("/")
    message = f"group {group!r} has no option {option!r}"
    choices = composition.choices(group)
    if option.endswith((".yaml", ".yml")) or option.startswith("configs/"):
        stem = option.rpartition(f"{group}/")[2].removesuffix(".yaml").removesuffix(".yml")
        hint = f"name it by its path below configs/{group}/, without .yaml: {group}={stem}"
    elif group == "corpus" and option.startswith(("/", ".", "~")):
        hint = f"name the folder with corpus.root={option}, and its reader, such as corpus=table"
    else:
        hint = nearest(option, choices)
    return ConfigError(message, hint=hint)


def _several_values(
    match: re.Match[str], composition: Composition, error: BaseException
) -> OverrideError:
    key, value = match.groups()
    return several_values(composition.override_of(key) or f"{key}={value}")


def _exists_already(
    match: re.Match[str], composition: Composition, error: BaseException
) -> OverrideError:
    override = composition.override_of(match[1]) or f"+{match[1]}"
    return OverrideError(
        override,
        f"+ adds an option, but there is {match[1]!r} already",
        hint=f"leave out the +: {override.lstrip('+')}",
    )


def _nothing_to_delete(
    match: re.Match[str], composition: Composition, error: BaseException
) -> OverrideError:
    key = match[1]
    override = composition.override_of(key) or f"~{key}"
    known_keys = composition.known_keys()
    if known_keys is not None and known_keys.is_set(key):
        message = f"{override!r} does not fit: {key} has another value"
        return OverrideError(override, message, hint=f"remove it with ~{key}")
    match_of_key = known_keys.nearest(key) if known_keys is not None else None
    hint = f"did you mean '~{match_of_key}'?" if match_of_key else f"leave it out; {PRINT}"
    return OverrideError(override, f"~ removes an option, but there is no {key!r}", hint=hint)


def _twice(match: re.Match[str], composition: Composition, error: BaseException) -> ConfigError:
    group = match[1].partition("@")[0]
    override = composition.override_of(group)
    if override is not None and override.startswith("+"):
        return OverrideError(
            override,
            f"+ adds a group, but there is {group!r} already",
            hint=f"leave out the +: {override.lstrip('+')}",
        )
    return ConfigError(
        f"a defaults list chooses an option of the group '{group}' a second time",
        expected=f"override before it, as in `{DEFAULTS_ENTRY}`",
        hint=f"write `- override /{group}: …` in the file",
    )


def _not_a_mapping(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError:
    return ConfigError(
        f"{match[1]}.yaml does not fit into the configuration",
        expected="keys with values, and mappings as sections: trainer: {max_epochs: 5}",
        hint="replace lists and single values where a section is expected",
    )


def _defaults_list(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError:
    return ConfigError(
        f"the defaults list of '{match[1]}' cannot be read",
        expected=f"a list whose items are files or groups, as in `{DEFAULTS_ENTRY}`",
        hint="begin each line with a dash, and write overrides after all other items",
    )


def _unread_override(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError:
    override = match[1] if match[1] in composition.overrides else str(error)
    return OverrideError(
        override,
        f"{match[1]!r} cannot choose an option of a group",
        expected="GROUP=OPTION, or a list of options as in encoder=[logmel,characters]",
    )


def _circle(match: re.Match[str], composition: Composition, error: BaseException) -> ConfigError:
    chosen = ", ".join(override for override in composition.overrides if "." not in override)
    return ConfigError(
        f"a defaults list leads back to its own file{f', of {chosen}' if chosen else ''}",
        expected="files that are based on others, which are not based on them",
        hint="remove the file's own name from its defaults list and those that it names",
    )


def _not_a_reference(
    match: re.Match[str], composition: Composition, error: BaseException
) -> ConfigError:
    return ConfigError(
        f"the reference '{match[1]}' cannot be read",
        expected="${key.of.an.option}",
        hint="close the brace, or write a literal $ as \\$",
    )


Explanation = Callable[[re.Match[str], Composition, BaseException], ConfigError | None]
# Hydra's messages to our explanation of them.
EXPLANATIONS: dict[str, Explanation] = {
    r"(?:Could not override|Could not delete) '([^']+)'\. No match in the defaults": _no_such_group,
    r"In '[^']+': Could not override '([^']+)'": _no_such_group,
    r"Could not override '([^']+)'": _not_overridden,
    r"Could not (?:find|load) '([^']+)'": _no_such_choice,
    r"Ambiguous value for argument '([^=]+)=(.+)'": _several_values,
    r"Sweep parameters '([^=]+)=(.+)' requires": _several_values,
    r"Could not append to config\. An item is already at '([^']+)'": _exists_already,
    r"Could not append to config\. The key '([^']+)'": _exists_already,
    r"Could not delete from config\. '([^']+)' does not exist": _nothing_to_delete,
    r"Could not delete from config\. The value of '([^']+)'": _nothing_to_delete,
    r"(\S+) appears more than once in the final defaults list": _twice,
    r"Multiple values for (\S+?)\.": _twice,
    r"In '([^']+)': \w+ raised while composing": _not_a_mapping,
    r"Config (\S+) must be an OmegaConf config": _not_a_mapping,
    r"Invalid defaults list in '([^']+)'": _defaults_list,
    r"In '?([^':]+)'?: (?:Override '|Defaults|Invalid overriding)": _defaults_list,
    r"Duplicate _self_ defined in (\S+)": _defaults_list,
    r"Unsupported (?:item value|type) in (defaults)": _defaults_list,
    r"force-add of config groups is not supported: '([^']+)'": _unread_override,
    r"^maximum (recursion) depth": _circle,
    r"(?:no viable alternative|token recognition error|mismatched input|missing)[^']*'(.*)'": (
        _not_a_reference
    ),
}


def _first_line(error: BaseException | None) -> str:
    """The first line of an error, or of what caused it where it says nothing itself."""
    while error is not None and not str(error).strip():
        error = error.__cause__ or error.__context__
    return str(error).strip().splitlines()[0]
