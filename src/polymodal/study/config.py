"""What a study is to run: members, seeds, votes, and what is compared."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from graphlib import CycleError, TopologicalSorter
from typing import Any

from polymodal.errors import ConfigError, nearest

MEMBER_KEYS = ("run", "applied", "root", "encoders", "fusion_rows")
IN_FOLD, HELD_OUT = "in_fold", "held_out"
MAX_PARALLEL = 4  # processes on a CPU unless more are asked for: each holds its own libraries


@dataclass(frozen=True)
class Member:
    """One model of the study.

    Args:
        name: Its name in tables and votes.
        run: Overrides of `polymodal run`, such as `experiment=sample/speech`.
        applied: Whether it is trained on a corpus of its own and then applied to the study's.
        root: Folder of the corpus it is trained on; None for where its config says.
        encoders: Modality to the member whose trained encoder it takes, seed by seed.
        held_out: Fraction of the training speakers that this member alone is trained on, while
            its encoders are fitted to the others; 0 for the same rows (`fusion_rows: in_fold`).
    """

    name: str
    run: tuple[str, ...]
    applied: bool = False
    root: str | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)
    held_out: float = 0.0


@dataclass(frozen=True)
class Vote:
    """One vote over members.

    Args:
        name: Its name in tables.
        of: The members that vote.
        voting: Overrides of `polymodal vote`, such as `voting=calibrated`.
    """

    name: str
    of: tuple[str, ...]
    voting: tuple[str, ...]


@dataclass(frozen=True)
class StudyConfig:
    """A study as its configuration describes it.

    Args:
        members: The models.
        votes: The votes over them.
        protocol: Overrides that part the study's corpus for every member, but for applied ones.
        shared: Overrides for every member.
        root: Folder of the study's corpus; None for where the members' configs say.
        seeds: Every member is trained once with each.
        shares: Further shares of the training rows to train with, for learning curves.
        score: The score that is compared; None for the one that the task is monitored by.
        pairs: Pairs of names to compare; None for every pair.
        alpha: Error probability of all claims together.
        parallel: Processes side by side; `auto` for one a device, or one a core up to
            `MAX_PARALLEL`.
        together: Whether small heads on stored features are trained at once in one process.
        options: Member to further overrides of its own, the key `with`; they come last.
    """

    members: tuple[Member, ...]
    votes: tuple[Vote, ...]
    protocol: tuple[str, ...]
    shared: tuple[str, ...]
    root: str | None
    seeds: tuple[int, ...]
    shares: tuple[float, ...]
    score: str | None
    pairs: tuple[tuple[str, str], ...] | None
    alpha: float
    parallel: int
    together: bool
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, section: Mapping[str, Any], *, num_devices: int = 0) -> "StudyConfig":
        """Read the section `study` of a configuration.

        Args:
            section: Plain values.
            num_devices: How many accelerators there are.

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
        _known(section, keys, "study")
        members = tuple(_member(*one) for one in dict(section.get("members") or {}).items())
        names = [member.name for member in members]
        votes = tuple(_vote(*one, names) for one in dict(section.get("votes") or {}).items())
        plan = cls(
            members=members,
            votes=votes,
            protocol=_words(section.get("protocol"), "study.protocol"),
            shared=_words(section.get("shared"), "study.shared"),
            root=section.get("root"),
            seeds=_numbers(section, "seeds", [0], int),
            shares=_numbers(section, "shares", [], float),
            score=section.get("score"),
            pairs=_pairs(section.get("pairs"), [*names, *(vote.name for vote in votes)]),
            alpha=float(section.get("alpha", 0.05)),
            parallel=_parallel(section.get("parallel", "auto"), num_devices),
            together=bool(section.get("together", True)),
            options=_options(section.get("with"), names),
        )
        plan.check()
        return plan

    @property
    def ordered(self) -> tuple[Member, ...]:
        """The members, each behind those whose encoders it takes.

        Raises:
            ConfigError: They wait for each other in a circle.
        """
        graph = {member.name: [*member.encoders.values()] for member in self.members}
        try:
            order = [*TopologicalSorter(graph).static_order()]
        except CycleError as error:
            chain = " from ".join(error.args[1])
            raise ConfigError(
                f"study.members take their encoders from each other: {chain}",
                expected="a member whose encoders are its own at the beginning of each chain",
            ) from None
        return tuple(sorted(self.members, key=lambda one: order.index(one.name)))

    @property
    def names(self) -> tuple[str, ...]:
        """Members, then votes."""
        return (*(member.name for member in self.members), *(vote.name for vote in self.votes))

    def check(self) -> None:
        """Reject what no study can be made of.

        Raises:
            ConfigError: There is no member that is trained on the study's corpus, no seed, a name
                stands twice, or a number is out of its range.
        """
        if not any(not member.applied for member in self.members):
            raise ConfigError(
                "study.members names no member that is trained on the study's corpus",
                expected="at least one, such as speech: experiment=sample/speech",
            )
        for member in self.members:
            self._check_encoders(member)
        assert self.ordered  # raises where they wait for each other
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ConfigError(f"{twice[0]!r} is the name of a member and of a vote")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(
                f"study.seeds={[*self.seeds]}", expected="at least one number, each once"
            )
        if wrong := [fraction for fraction in self.shares if not 0 < fraction < 1]:
            raise ConfigError(f"study.shares names {wrong[0]}", expected="shares between 0 and 1")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"study.alpha={self.alpha}", expected="between 0 and 1")

    def _check_encoders(self, member: Member) -> None:
        key, known = (
            f"study.members.{member.name}",
            {member.name: member for member in self.members},
        )
        for modality, source in member.encoders.items():
            if source not in known:
                raise ConfigError(
                    f"{key}.encoders.{modality} names {source!r}",
                    hint=nearest(source, [*known]),
                )
            if member.held_out and known[source].held_out:
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
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _member(name: str, value: Any) -> Member:
    key = f"study.members.{name}"
    if not isinstance(value, Mapping):
        return Member(name, _words(value, key))
    _known(value, MEMBER_KEYS, key)
    encoders = value.get("encoders") or {}
    if not isinstance(encoders, Mapping):
        raise ConfigError(f"{key}.encoders={encoders!r}", expected="{modality: member}")
    return Member(
        name,
        run=_words(value.get("run"), f"{key}.run"),
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
    """The overrides of single members, below the key `with`."""
    if not isinstance(value, Mapping | None):
        raise ConfigError(f"study.with={value!r}", expected="{MEMBER: [overrides]}")
    given = {str(name): words for name, words in (value or {}).items()}
    if unknown := [name for name in given if name not in members]:
        raise ConfigError(
            f"study.with.{unknown[0]} is for no member of the study",
            expected=f"one of {', '.join(members)}",
            hint=nearest(unknown[0], members),
        )
    return {name: _words(words, f"study.with.{name}") for name, words in given.items()}


def _check_packages(section: Mapping[str, Any]) -> None:
    """Refuse a study that an extending one has put below a key of its own."""
    for key, value in section.items():
        while isinstance(value, Mapping) and len(value) == 1 and "members" not in value:
            value = next(iter(value.values()))
        if key not in ("members", "votes") and isinstance(value, Mapping) and "members" in value:
            raise ConfigError(
                f"study.{key} is a study within the study",
                expected="a study that is extended to land at the key `study`",
                hint="begin the extended file with the line `# @package _global_.study`",
            )


def _vote(name: str, value: Any, members: Sequence[str]) -> Vote:
    key = f"study.votes.{name}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}={value!r}", expected="{of: [two or more members], voting: soft}")
    _known(value, ["of", "voting"], key)
    of = tuple(value.get("of") or members)
    if unknown := [one for one in of if one not in members]:
        raise ConfigError(f"{key}.of names {unknown[0]!r}", hint=nearest(unknown[0], members))
    if len(set(of)) < max(2, len(of)):
        raise ConfigError(
            f"{key} is a vote over {', '.join(of) or 'nobody'}",
            expected="at least two members, each once",
        )
    voting = value.get("voting", "soft")
    words = [f"voting={voting}"] if isinstance(voting, str) and "=" not in voting else voting
    return Vote(name, of, _words(words, f"{key}.voting"))


def _words(value: Any, key: str) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else list(value or [])
    if wrong := [word for word in words if not isinstance(word, str) or "=" not in word]:
        raise ConfigError(
            f"{key} has {wrong[0]!r}",
            expected="overrides as on the command line, such as optimizer.lr=0.001",
        )
    return tuple(words)


def _numbers(
    section: Mapping[str, Any], name: str, usual: list[Any], kind: type
) -> tuple[Any, ...]:
    values = section.get(name, usual)
    values = values if isinstance(values, list | tuple) else [values]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise ConfigError(f"study.{name} has {value!r}", expected=f"numbers ({kind.__name__})")
    return tuple(kind(value) for value in values)


def _pairs(value: Any, names: Sequence[str]) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    pairs = []
    for one in value:
        if not isinstance(one, list | tuple) or len(one) != 2 or one[0] == one[1]:
            raise ConfigError(
                f"study.pairs has {one!r}", expected="two names, such as [fusion, soft]"
            )
        if unknown := [name for name in one if name not in names]:
            raise ConfigError(f"study.pairs names {unknown[0]!r}", hint=nearest(unknown[0], names))
        pairs.append((str(one[0]), str(one[1])))
    return tuple(pairs)


def _parallel(value: Any, num_devices: int) -> int:
    if value == "auto":
        return num_devices or min(num_cores(), MAX_PARALLEL)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"study.parallel={value!r}", expected="auto, or a number from 1")
    return value


def _known(section: Mapping[str, Any], names: Sequence[str], key: str) -> None:
    if unknown := [str(one) for one in section if one not in names]:
        raise ConfigError(f"there is no option {key}.{unknown[0]}", hint=nearest(unknown[0], names))
