"""Models of one architecture, run in one pass, each with its own weights and its own dropout.

Legend: head = models that are run together, batch = utterances of one head, time = frames,
feature = width, output = classes or values to be predicted.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Several

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from polymodal.runs.vectorized.frames import Stacked
from polymodal.schemas.batch import PaddedSequence

Shape = tuple[int, ...]
PROBE, OTHER_PROBE = 3, 7  # utterances and frames of the batches that ask how dropouts are shaped


class StackedModels:
    """The weights of several models side by side, and one pass through all of them.

    PyTorch's vmap draws random numbers for all models at once, so dropout would differ from that of
    a model alone. Here every model draws from its own random state, in the shapes and in the order
    in which it would draw by itself.

    Args:
        models: Models of one architecture; their weights are copied.
        widths: Modality to the width of its frames, in the order of a batch's sizes.
    """

    def __init__(self, models: Several[nn.Module], widths: Mapping[str, int]) -> None:
        self.noise = _SharedNoise()
        self.template = _with_shared_dropout(copy.deepcopy(models[0]), self.noise)
        named = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([one[name].detach() for one in named]).requires_grad_(
                named[0][name].requires_grad
            )
            for name in named[0]
        }
        buffers = [dict(model.named_buffers()) for model in models]
        self.buffers = {
            name: torch.stack([buffer[name] for buffer in buffers]) for name in buffers[0]
        }
        self.draws = _DropoutShapes(lambda sizes: self._asked(sizes, widths), 1 + len(widths))

    def __call__(
        self,
        places: Several[int],
        inputs: Mapping[str, Stacked],
        noise: Several[Tensor] | None = None,
    ) -> Float[Tensor, "head batch output"]:
        """Run some of the models, each on a batch of its own.

        Args:
            places: Which models.
            inputs: Modality to values and mask, one batch a model.
            noise: As `draw` gives it, to train; None for outputs without dropout.

        Returns:
            One row an utterance, padding included.
        """
        self.template.train(noise is not None)
        parameters, buffers = self._some(self.parameters, places), self._some(self.buffers, places)

        def one(
            state: tuple[dict[str, Tensor], ...],
            inputs: Mapping[str, tuple[Tensor, Tensor]],
            noise: Several[Tensor],
        ) -> Tensor:
            self.noise.given = iter(noise)
            batch = {name: PaddedSequence(*stacked) for name, stacked in inputs.items()}
            outputs: Tensor = functional_call(self.template, state, (batch,))
            return outputs.float()

        outputs: Tensor = vmap(one)((parameters, buffers), dict(inputs), list(noise or ()))
        return outputs

    def _some(self, stacked: Mapping[str, Tensor], places: Several[int]) -> dict[str, Tensor]:
        chosen = torch.tensor(places, device=self._device)
        return {
            name: whole if len(places) == len(whole) else whole.index_select(0, chosen)
            for name, whole in stacked.items()
        }

    def draw(self, states: Several[Tensor], sizes: Several[Several[int]]) -> list[Tensor]:
        """Draw the noise of every dropout, for each model as if it ran alone.

        Args:
            states: Random state of each model, which moves on.
            sizes: What the batch of each model measures by itself: utterances, then frames of each
                modality.

        Returns:
            One tensor a dropout, `[head, ...]`, to be multiplied with what is dropped.
        """
        generator = _generator(self._device)
        common = self.draws.shapes(np.max(sizes, axis=0))
        noise = [torch.zeros(len(states), *shape, device=self._device) for shape in common]
        for head, (state, own) in enumerate(zip(states, sizes, strict=True)):
            generator.set_state(state)
            shapes = self.draws.shapes(own)
            for whole, chance, shape in zip(noise, self.draws.chances, shapes, strict=True):
                ones = torch.ones(shape, device=self._device)
                whole[head][_corner(shape)] = functional.dropout(ones, chance)
            state.copy_(generator.get_state())
        return noise

    def random_state(self, seed: int) -> Tensor:
        """Return the random state that a seed begins with, for `draw`."""
        return _generator(self._device).manual_seed(seed).get_state()

    def write(self, place: int, model: nn.Module) -> None:
        """Copy the weights at a place into a model."""
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self.parameters[name][place])

    def keep(self, places: list[int]) -> None:
        """Leaves out all models but those at these places."""
        for whole in self.parameters.values():
            whole.data, whole.grad = whole.data[places], None
        self.buffers = {name: whole[places] for name, whole in self.buffers.items()}

    @property
    def _device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def _asked(self, sizes: Several[int], widths: Mapping[str, int]) -> list[tuple[float, Shape]]:
        """Which dropouts a batch of these sizes passes, in order: their chances and shapes."""
        self.noise.given, self.noise.asked = None, []
        device = self._device
        batch = {
            name: PaddedSequence(
                torch.zeros(sizes[0], frames, width, device=device),
                torch.ones(sizes[0], frames, dtype=torch.bool, device=device),
            )
            for frames, (name, width) in zip(sizes[1:], widths.items(), strict=True)
        }
        with torch.no_grad():
            self.template.train()(batch)
        return self.noise.asked


class _SharedNoise:
    """What all dropouts of a template share: the noise of this pass, or the wish to know shapes."""

    def __init__(self) -> None:
        self.given: Iterator[Tensor] | None = None
        self.asked: list[tuple[float, Shape]] = []


class _SharedDropout(nn.Module):
    """A dropout that is given its noise."""

    def __init__(self, chance: float, noise: _SharedNoise) -> None:
        super().__init__()
        self.chance, self.noise = chance, noise

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or not self.chance:  # then PyTorch draws nothing either
            return values
        if self.noise.given is None:
            self.noise.asked.append((self.chance, tuple(values.shape)))
            return values
        return values * next(self.noise.given)


class _DropoutShapes:
    """The shapes of all dropouts, which grow evenly with the utterances and frames of a batch."""

    def __init__(
        self, ask: Callable[[Several[int]], list[tuple[float, Shape]]], num_sizes: int
    ) -> None:
        def asked(sizes: np.ndarray) -> list[np.ndarray]:
            return [np.array(shape) for _, shape in ask(sizes.tolist())]

        probe = np.full(num_sizes, PROBE)
        self.chances = [chance for chance, _ in ask(probe.tolist())]
        self.probe, self.first = probe, asked(probe)
        more = [asked(probe + one) for one in np.eye(num_sizes, dtype=int)]
        self.growth = [
            np.stack([grown[layer] - first for grown in more])
            for layer, first in enumerate(self.first)
        ]
        other = probe + np.arange(num_sizes) + OTHER_PROBE
        if self.shapes(other) != [tuple(shape) for shape in asked(other)]:
            raise RuntimeError("its dropouts do not grow evenly with its input")

    def shapes(self, sizes: Several[int] | np.ndarray) -> list[Shape]:
        """Return the shape of every dropout for a batch of these sizes."""
        grown = np.asarray(sizes) - self.probe
        return [
            tuple((first + grown @ growth).tolist())
            for first, growth in zip(self.first, self.growth, strict=True)
        ]


def why_not_stackable(model: nn.Module, widths: Mapping[str, int]) -> str | None:
    """Run two copies of a model together and alone, with batches of different sizes.

    Args:
        model: The model; its running statistics, if it has any, are changed.
        widths: Modality to the width of its frames.

    Returns:
        None where both ways say the same, otherwise the reason.
    """
    sizes = [[3, *range(4, 4 + len(widths))], [2, *range(2, 2 + len(widths))]]
    with torch.random.fork_rng():
        batches = [_random_batch(size, widths) for size in sizes]
        states, alone = [], []
        for seed, batch in enumerate(batches):
            states.append(torch.manual_seed(seed).get_state())
            alone.append(model.train()(batch).float())
        try:
            stack = StackedModels([model, model], widths)
            together = stack([0, 1], _padded(batches), stack.draw(states, sizes))
        except (RuntimeError, TypeError, ValueError, IndexError, StopIteration) as error:
            return f"the model cannot be run by vmap: {str(error).strip().partition(chr(10))[0]}"
    same = all(
        torch.allclose(whole[: len(own)], own, rtol=1e-4, atol=1e-5)
        for whole, own in zip(together, alone, strict=True)
    )
    return None if same else "the model gives an utterance other outputs in another batch"


def _random_batch(sizes: Several[int], widths: Mapping[str, int]) -> dict[str, PaddedSequence]:
    return {
        name: PaddedSequence(
            torch.randn(sizes[0], frames, width),
            torch.ones(sizes[0], frames, dtype=torch.bool),
        )
        for frames, (name, width) in zip(sizes[1:], widths.items(), strict=True)
    }


def _padded(batches: Several[Mapping[str, PaddedSequence]]) -> dict[str, Stacked]:
    """The first batch is the largest in every way."""
    padded = {}
    for name, largest in batches[0].items():
        values, mask = (
            torch.zeros(2, *largest.values.shape),
            torch.zeros(2, *largest.valid_mask.shape),
        )
        for head, batch in enumerate(batches):
            corner = _corner(batch[name].valid_mask.shape)
            values[head][corner], mask[head][corner] = batch[name].values, 1
        padded[name] = (values, mask > 0)
    return padded


def _corner(shape: Several[int]) -> tuple[slice, ...]:
    """Where a smaller tensor lies in a padded one."""
    return tuple(slice(size) for size in shape)


def _with_shared_dropout(model: nn.Module, noise: _SharedNoise) -> nn.Module:
    """Replace the dropouts of a model; those of whole channels draw by themselves, and fail."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, _SharedDropout(child.p, noise))
    return model


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
