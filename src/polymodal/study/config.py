"""Configuration of a study: members, seeds, votes and comparisons."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from graphlib import CycleError, TopologicalSorter
from typing import Any

from polymodal.errors import ConfigError, nearest

MEMBER_KEYS = ("run", "applied", "root", "encoders", "fusion_rows")
IN_FOLD, HELD_OUT = "in_fold", "held_out"
MAX_PARALLEL = 4  # default limit of processes on a CPU: each loads all libraries


@dataclass(frozen=True)
class Member:
    """One model of the study."""

    name: str  # name in tables and votes
    run: tuple[str, ...]  # overrides of `polymodal run`, such as `experiment=sample/speech`
    applied: bool = False  # whether it is trained on another corpus and then applied to the study's
    # folder of the corpus it is trained on; None for the one of its configuration
    root: str | None = None
    # modality to the member whose trained encoder it takes, seed by seed
    encoders: Mapping[str, str] = field(default_factory=dict)
    # fraction of the training speakers that only this member is trained on, while its encoders are
    # trained on the others; 0 for the same rows (`fusion_rows: in_fold`)
    held_out: float = 0.0


@dataclass(frozen=True)
class Vote:
    """One vote over members."""

    name: str  # name in tables
    of: tuple[str, ...]  # names of the members that vote
    ensemble: tuple[str, ...]  # overrides of `polymodal vote`, such as `ensemble=calibrated`


@dataclass(frozen=True)
class StudyConfig:
    """The parsed section `study` of a configuration."""

    members: tuple[Member, ...]  # the models
    votes: tuple[Vote, ...]  # the votes over them
    # overrides that split the study's corpus, for every member that is not applied
    protocol: tuple[str, ...]
    shared: tuple[str, ...]  # overrides for every member
    # folder of the study's corpus; None for the one of the members' configurations
    root: str | None
    seeds: tuple[int, ...]  # every member is trained once with each
    # further fractions of the training rows to train with, for learning curves
    fractions: tuple[float, ...]
    score: str | None  # the score that is compared; None for the one that the task monitors
    pairs: tuple[tuple[str, str], ...] | None  # pairs of names to compare; None for every pair
    alpha: float  # family-wise error rate of all comparisons
    # number of parallel processes; `auto` for one per device, or one per core up to `MAX_PARALLEL`
    parallel: int
    vectorized: bool  # whether small heads on stored features are trained in one vectorized process
    # member to further overrides (the key `with`), which come last
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, section: Mapping[str, Any], *, num_devices: int = 0) -> "StudyConfig":
        """Read the section `study` of a configuration; `num_devices` is the number of accelerators.

        Raises:
            ConfigError: A key is unknown, there is no member or seed, `with`, a vote or a pair
                names an unknown member, or a vote has one member.

        Example:
            >>> members = {"speech": "experiment=sample/speech", "text": "experiment=sample/text"}
            >>> votes = {"soft": {"of": ["speech", "text"]}}
            >>> StudyConfig.read({"members": members, "votes": votes}).names
            ('speech', 'text', 'soft')
        """
        _check_packages(section)
        keys = ["with" if field.name == "options" else field.name for field in fields(cls)]
        _check_keys(section, keys, "study")
        members = tuple(_member(*item) for item in dict(section.get("members") or {}).items())
        names = [member.name for member in members]
        votes = tuple(_vote(*item, names) for item in dict(section.get("votes") or {}).items())
        plan = cls(
            members=members,
            votes=votes,
            protocol=_overrides(section.get("protocol"), "study.protocol"),
            shared=_overrides(section.get("shared"), "study.shared"),
            root=section.get("root"),
            seeds=_numbers(section, "seeds", [0], int),
            fractions=_numbers(section, "fractions", [], float),
            score=section.get("score"),
            pairs=_pairs(section.get("pairs"), [*names, *(vote.name for vote in votes)]),
            alpha=float(section.get("alpha", 0.05)),
            parallel=_parallel(section.get("parallel", "auto"), num_devices),
            vectorized=bool(section.get("vectorized", True)),
            options=_options(section.get("with"), names),
        )
        plan.check()
        return plan

    @property
    def ordered(self) -> tuple[Member, ...]:
        """The members, each after those whose encoders it takes.

        Raises:
            ConfigError: They depend on each other in a circle.
        """
        graph = {member.name: [*member.encoders.values()] for member in self.members}
        try:
            order = [*TopologicalSorter(graph).static_order()]
        except CycleError as error:
            chain = " from ".join(error.args[1])
            raise ConfigError(
                f"study.members take their encoders from each other: {chain}",
                expected="a member that trains its own encoders at the start of each chain",
            ) from None
        return tuple(sorted(self.members, key=lambda member: order.index(member.name)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, then of the votes."""
        return (*(member.name for member in self.members), *(vote.name for vote in self.votes))

    def check(self) -> None:
        """Validate members, names and ranges.

        Raises:
            ConfigError: There is no member that is trained on the study's corpus, no seed, a
                duplicate name, or a number out of range.
        """
        if not any(not member.applied for member in self.members):
            raise ConfigError(
                "study.members names no member that is trained on the study's corpus",
                expected="at least one, such as speech: experiment=sample/speech",
            )
        for member in self.members:
            self._check_encoders(member)
        assert self.ordered  # raises on circular dependencies
        if duplicates := [name for name in self.names if self.names.count(name) > 1]:
            raise ConfigError(f"{duplicates[0]!r} is the name of a member and of a vote")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            message = f"study.seeds={[*self.seeds]}"
            raise ConfigError(message, expected="at least one number, each once")
        if wrong := [fraction for fraction in self.fractions if not 0 < fraction < 1]:
            raise ConfigError(f"study.fractions has {wrong[0]}", expected="numbers between 0 and 1")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"study.alpha={self.alpha}", expected="between 0 and 1")

    def _check_encoders(self, member: Member) -> None:
        key = f"study.members.{member.name}"
        members = {member.name: member for member in self.members}
        for modality, source in member.encoders.items():
            if source not in members:
                message = f"{key}.encoders.{modality} names {source!r}"
                raise ConfigError(message, hint=nearest(source, [*members]))
            if member.held_out and members[source].held_out:
                raise ConfigError(
                    f"{key} and {source}, whose encoder it takes, both hold out speakers",
                    expected="fusion_rows: in_fold for members that encoders are taken from",
                )
        if member.held_out and not member.encoders:
            raise ConfigError(
                f"{key}.fusion_rows holds out speakers, but {member.name} takes no encoders",
                expected="encoders: {modality: member}",
            )


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _member(name: str, value: Any) -> Member:
    key = f"study.members.{name}"
    if not isinstance(value, Mapping):
        return Member(name, _overrides(value, key))
    _check_keys(value, MEMBER_KEYS, key)
    encoders = value.get("encoders") or {}
    if not isinstance(encoders, Mapping):
        raise ConfigError(f"{key}.encoders={encoders!r}", expected="{modality: member}")
    return Member(
        name,
        run=_overrides(value.get("run"), f"{key}.run"),
        applied=bool(value.get("applied", False)),
        root=value.get("root"),
        encoders={str(modality): str(encoder) for modality, encoder in encoders.items()},
        held_out=_held_out(value.get("fusion_rows", IN_FOLD), f"{key}.fusion_rows"),
    )


def _held_out(value: Any, key: str) -> float:
    if value == IN_FOLD:
        return 0.0
    ratio = value.get(HELD_OUT) if isinstance(value, Mapping) and len(value) == 1 else None
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 1:
        raise ConfigError(
            f"{key}={value!r}",
            expected=f"{IN_FOLD}, or {{{HELD_OUT}: 0.3}}, a fraction of the training speakers",
        )
    return float(ratio)


def _options(value: Any, members: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the overrides of single members, from the key `with`."""
    if not isinstance(value, Mapping | None):
        raise ConfigError(f"study.with={value!r}", expected="{MEMBER: [overrides]}")
    given = {str(name): overrides for name, overrides in (value or {}).items()}
    if unknown := [name for name in given if name not in members]:
        raise ConfigError(
            f"study.with.{unknown[0]} is not a member of the study",
            expected=f"one of {', '.join(members)}",
            hint=nearest(unknown[0], members),
        )
    return {name: _overrides(overrides, f"study.with.{name}") for name, overrides in given.items()}


def _check_packages(section: Mapping[str, Any]) -> None:
    """Reject a study that was extended without `@package`, and so landed below another key."""
    for key, value in section.items():
        while isinstance(value, Mapping) and len(value) == 1 and "members" not in value:
            value = next(iter(value.values()))
        if key not in ("members", "votes") and isinstance(value, Mapping) and "members" in value:
            raise ConfigError(
                f"study.{key} is a study within the study",
                expected="an extended study at the key `study`",
                hint="begin the extended file with the line `# @package _global_.study`",
            )


def _vote(name: str, value: Any, members: Sequence[str]) -> Vote:
    key = f"study.votes.{name}"
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{key}={value!r}", expected="{of: [two or more members], ensemble: soft}"
        )
    _check_keys(value, ["of", "ensemble"], key)
    of = tuple(value.get("of") or members)
    if unknown := [name for name in of if name not in members]:
        raise ConfigError(f"{key}.of names {unknown[0]!r}", hint=nearest(unknown[0], members))
    if len(set(of)) < max(2, len(of)):
        raise ConfigError(
            f"{key} is a vote over {', '.join(of) or 'no members'}",
            expected="at least two members, each once",
        )
    ensemble = value.get("ensemble", "soft")
    overrides = (
        [f"ensemble={ensemble}"] if isinstance(ensemble, str) and "=" not in ensemble else ensemble
    )
    return Vote(name, of, _overrides(overrides, f"{key}.ensemble"))


def _overrides(value: Any, key: str) -> tuple[str, ...]:
    overrides = value.split() if isinstance(value, str) else list(value or [])
    if wrong := [word for word in overrides if not isinstance(word, str) or "=" not in word]:
        raise ConfigError(
            f"{key} has {wrong[0]!r}",
            expected="overrides as on the command line, such as optimizer.lr=0.001",
        )
    return tuple(overrides)


def _numbers(
    section: Mapping[str, Any], name: str, default: list[Any], kind: type
) -> tuple[Any, ...]:
    values = section.get(name, default)
    values = values if isinstance(values, list | tuple) else [values]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise ConfigError(f"study.{name} has {value!r}", expected=f"numbers ({kind.__name__})")
    return tuple(kind(value) for value in values)


def _pairs(value: Any, names: Sequence[str]) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    pairs = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or pair[0] == pair[1]:
            expected = "two names, such as [fusion, soft]"
            raise ConfigError(f"study.pairs has {pair!r}", expected=expected)
        if unknown := [name for name in pair if name not in names]:
            raise ConfigError(f"study.pairs names {unknown[0]!r}", hint=nearest(unknown[0], names))
        pairs.append((str(pair[0]), str(pair[1])))
    return tuple(pairs)


def _parallel(value: Any, num_devices: int) -> int:
    if value == "auto":
        return num_devices or min(num_cores(), MAX_PARALLEL)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"study.parallel={value!r}", expected="auto, or a number from 1")
    return value


def _check_keys(section: Mapping[str, Any], names: Sequence[str], key: str) -> None:
    if unknown := [str(name) for name in section if name not in names]:
        raise ConfigError(f"there is no option {key}.{unknown[0]}", hint=nearest(unknown[0], names))
