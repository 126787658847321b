"""Changes that an upgrade makes to a file or leaves to a person."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """A change of one line, or a note on it.

    Args:
        rule: Id of the rule, such as `trainer-gpus`.
        line: Line of the old file, from 1.
        before: Old text, shortened.
        after: New text, shortened; empty if it is removed; None if a person has to decide.
        note: What a person has to know or do; may be empty.
    """

    rule: str
    line: int
    before: str
    after: str | None
    note: str = ""

    @property
    def is_undecided(self) -> bool:
        """Whether a person has to decide."""
        return self.after is None


@dataclass(frozen=True)
class ClassOutline:
    """Bases (dotted paths, or bare names of the same file) and methods of a class."""

    bases: tuple[str, ...]
    methods: frozenset[str]


@dataclass
class ProjectFacts:
    """Facts about all files of a project, gathered before the first is rewritten.

    Args:
        renamed_scores: Old to new name of logged scores, such as `val_F1Score` to
            `val_MulticlassF1Score`; monitors and names of checkpoints follow.
        chdir: Whether Hydra changed the working directory for every run, the default before 1.2.
        callbacks_in_code: Whether code passes callbacks to a Trainer, so that `trainer.callbacks`
            of
            a YAML file would be ignored.
        hydra_1_0: Whether package headers have the form of Hydra 1.0.
        fills_in: Whether polymodal reads the project, and so fills in `task` and `mode`.
        lightning: Packages by which the Python files import Lightning.
        classes: Classes of the Python files, by name.
    """

    renamed_scores: dict[str, str] = field(default_factory=dict)
    chdir: bool = False
    callbacks_in_code: bool = False
    hydra_1_0: bool = False
    fills_in: bool = False
    lightning: set[str] = field(default_factory=set)
    classes: dict[str, ClassOutline] = field(default_factory=dict)


@dataclass(frozen=True)
class Rewrite:
    """The text of a file after its upgrade, the same if nothing applies, and its changes."""

    text: str
    changes: tuple[Change, ...] = ()
