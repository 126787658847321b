"""What an upgrade changed in a file, or found and left alone."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One place of a file that an older release was written for.

    Args:
        rule: Id of the rule, such as `trainer-gpus`.
        line: Line of the old file, from 1.
        found: What stands there, in short.
        written: What takes its place, in short; empty where it is left out; None where the upgrade
            cannot decide and leaves it alone.
        note: What a person has to know, or to do by hand; may be empty.
    """

    rule: str
    line: int
    found: str
    written: str | None
    note: str = ""

    @property
    def is_undecided(self) -> bool:
        """Whether it was left alone."""
        return self.written is None


@dataclass(frozen=True)
class Outline:
    """A class of the tree, as others of its files see it.

    Args:
        bases: Dotted paths of what it derives from, or bare names of its own file.
        methods: Names of its methods.
    """

    bases: tuple[str, ...]
    methods: frozenset[str]


@dataclass
class Facts:
    """What the files of a tree know of one another; gathered before the first is rewritten.

    Args:
        renamed_scores: Old name of a logged score to the new one, such as `val_F1Score` to
            `val_MulticlassF1Score`: followed into monitors and names of checkpoints.
        chdir: Whether Hydra changed the working directory for every run of this tree, as it did
            by default before 1.2.
        callbacks_in_code: Whether the code gives a Trainer its callbacks, so that a list of them
            in the Trainer's section would be read by nobody.
        hydra_1_0: Whether headers are written as Hydra 1.0 had them.
        fills_in: Whether polymodal reads the tree: it fills in the task of scores and the direction
            of monitors.
        lightning: Packages by which the Python files call Lightning.
        classes: Classes of the Python files, by name.
    """

    renamed_scores: dict[str, str] = field(default_factory=dict)
    chdir: bool = False
    callbacks_in_code: bool = False
    hydra_1_0: bool = False
    fills_in: bool = False
    lightning: set[str] = field(default_factory=set)
    classes: dict[str, Outline] = field(default_factory=dict)


@dataclass(frozen=True)
class Rewrite:
    """A file after its upgrade.

    Args:
        text: Its new text; the old one, byte for byte, where nothing is to be changed.
        changes: What was changed, and what was left alone, in the order of their lines.
    """

    text: str
    changes: tuple[Change, ...] = ()
