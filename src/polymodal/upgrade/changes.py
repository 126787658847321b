"""Changes that an upgrade makes to a file or leaves to a person."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """A change of one line, or a note on it."""

    rule: str  # id of the rule, such as `trainer-gpus`
    line: int  # line of the old file, from 1
    before: str  # old text, shortened
    after: str | None  # new text, shortened; empty if it is removed; None if a person has to decide
    note: str = ""  # what a person has to know or do; may be empty

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
    """Facts about all files of a project, gathered before the first is rewritten."""

    # old to new name of logged scores, such as `val_F1Score` to `val_MulticlassF1Score`; monitors
    # and names of checkpoints follow
    renamed_scores: dict[str, str] = field(default_factory=dict)
    # whether Hydra changed the working directory for every run, the default before 1.2
    chdir: bool = False
    # whether code passes callbacks to a Trainer, so that `trainer.callbacks` of a YAML file would
    # be ignored
    callbacks_in_code: bool = False
    hydra_1_0: bool = False  # whether package headers have the form of Hydra 1.0
    fills_in: bool = False  # whether polymodal reads the project, and so fills in `task` and `mode`
    # packages by which the Python files import Lightning
    lightning: set[str] = field(default_factory=set)
    # classes of the Python files, by name
    classes: dict[str, ClassOutline] = field(default_factory=dict)


@dataclass(frozen=True)
class Rewrite:
    """The text of a file after its upgrade, the same if nothing applies, and its changes."""

    text: str
    changes: tuple[Change, ...] = ()
