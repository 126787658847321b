"""What is to be predicted."""

from collections import Counter
from collections.abc import Sequence

from polymodal.errors import ConfigError


class Classification:
    """One of several classes for each utterance.

    Args:
        classes: The declared classes; their order is that of the logits, everywhere.

    Raises:
        ConfigError: There are fewer than two classes, or one stands twice.

    Example:
        >>> Classification(["anger", "joy"]).num_outputs
        2
    """

    name = "classification"

    def __init__(self, classes: Sequence[str]) -> None:
        repeated = [name for name, count in Counter(classes).items() if count > 1]
        if len(classes) < 2 or repeated:
            raise ConfigError(
                f"task.classes is {list(classes)}",
                expected="at least two different classes",
                remedy="declare them in task.classes or in the corpus's YAML",
            )
        self.classes = tuple(classes)

    @property
    def num_outputs(self) -> int:
        """Number of logits."""
        return len(self.classes)
