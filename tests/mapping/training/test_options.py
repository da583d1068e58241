"""Options of a training: each against a computation by hand, and each resumed within an epoch to the bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from mapping import (
    Admm,
    BlockSparse,
    Cutout,
    Distillation,
    Ema,
    Freezing,
    Gsm,
    Levels,
    Masked,
    Mixup,
    Recipe,
    TrainingOptions,
    calibrate,
    equal_levels,
    map_network,
    train,
    trainable_network,
)
from mapping.recipes.recipe import undecayed
from mapping.training.checkpoints import Checkpoint, load_checkpoint
from mapping.training.method import Method
from mapping.training.objective import cut_out, distilled, mixed
from xbar import ProgrammingNoise, XbarError, load_hardware

X = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 5, (40,), generator=torch.Generator().manual_seed(2))
BATCHES = list(zip(X.split(8), Y.split(8), strict=True))


def network(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 5)
    )


def still(seed: int = 3) -> nn.Module:
    """Without anything random, nor statistics of a batch."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def close(a: nn.Module, b: nn.Module, atol: float = 1e-6) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(p.double(), q.double(), rtol=1e-5, atol=atol) for p, q in pairs)


def by_hand(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Any = functional.cross_entropy,
    batches: Any = BATCHES,
    epochs: int = 2,
    bf16: bool = False,
) -> nn.Module:
    """The plain loop at a constant rate."""
    for _ in range(epochs):
        for x, y in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                outputs = model(x)
            optimizer.zero_grad()
            loss(outputs.float(), y).backward()
            optimizer.step()
    return model


CONSTANT = functools.partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)


def trained(batches: Any = BATCHES, model: nn.Module | None = None, **keys: Any) -> nn.Module:
    model = still() if model is None else model
    arguments = {name: keys.pop(name) for name in ("teacher", "validate", "methods") if name in keys}
    train(model, batches, Recipe(2, 0.1, "SGD", scheduler=CONSTANT, **keys), **arguments)
    return model


def sgd(model: nn.Module, **keys: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, **keys)


def test_bf16_is_autocast_with_weights_in_float32() -> None:
    types = []

    class Watch(Method):
        def after_backward(self, model: nn.Module) -> None:
            types.extend([model[0].weight.dtype, model[0].weight.grad.dtype])  # type: ignore[index,union-attr]

    model = still()
    model[0].register_forward_hook(lambda module, inputs, output: types.append(output.dtype))  # type: ignore[index]
    trained(model=model, options=TrainingOptions(precision="bf16"), methods=[Watch()])
    assert types == [torch.bfloat16, torch.float32, torch.float32] * 10
    other = still()
    assert same(model, by_hand(other, sgd(other), bf16=True))
    assert not close(model, trained(), 1e-4)


def test_nesterov_by_name() -> None:
    model = still()
    assert close(trained(nesterov=True), by_hand(model, sgd(model, nesterov=True)))
    assert not close(trained(nesterov=True), trained())


def test_weights_alone_decay() -> None:
    model = still()
    weights = [p for p in model.parameters() if p.dim() > 1]
    biases = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 0.1}, {"params": biases}], 0.1, 0.9)
    assert close(trained(weight_decay=0.1, decayed="weights"), by_hand(model, optimizer))
    assert not close(trained(weight_decay=0.1, decayed="weights"), trained(weight_decay=0.1))


def test_norms_and_biases_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.LayerNorm([3, 4, 4]), nn.LSTM(4, 4))
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in undecayed(model)} == {
        *("0.bias", "1.weight", "1.bias", "2.weight", "2.bias", "3.bias_ih_l0", "3.bias_hh_l0")
    }


def test_label_smoothing_moves_a_share_to_all_classes() -> None:
    """(1 - s) CE - s/C sum_c log q_c."""

    def smoothed(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        log_q = outputs.log_softmax(1)
        return -(0.8 * log_q[torch.arange(len(y)), y] + 0.2 * log_q.mean(1)).mean()

    model = still()
    assert close(trained(options=TrainingOptions(label_smoothing=0.2)), by_hand(model, sgd(model), smoothed))


@pytest.mark.parametrize("share_of", [0.2, 1.0])
def test_mixup_is_the_loss_of_mixed_one_hot_targets(share_of: float) -> None:
    torch.manual_seed(7)
    x, targets = mixed(Mixup(share_of), X, Y, "train")
    torch.manual_seed(7)
    share = float(torch.distributions.Beta(share_of, share_of).sample())
    other = torch.randperm(40)
    assert torch.equal(x, share * X + (1 - share) * X[other])
    outputs = torch.randn(40, 5)
    soft = share * functional.one_hot(Y, 5) + (1 - share) * functional.one_hot(Y[other], 5)
    found = sum(part * functional.cross_entropy(outputs, y) for part, y in targets)
    torch.testing.assert_close(found, functional.cross_entropy(outputs, soft))


def test_mixup_draws_a_beta() -> None:
    """Variance of Beta(a, a): 1 / (4 (2 a + 1)). 4,000 draws are off by 5 sigma = .0039 once in 10^6."""
    torch.manual_seed(0)
    shares = torch.tensor([mixed(Mixup(0.5), X[:2], Y[:2], "")[1][0][0] for _ in range(4000)]).double()
    # The fourth central moment of Beta(1/2, 1/2), the arcsine law, is 3/128.
    sigma = math.sqrt((3 / 128 - 1 / 64) / 4000)
    assert abs(float((shares - 0.5).square().mean()) - 1 / 8) < 5 * sigma
    assert 10 * sigma < 1.1**2 / 8 - 1 / 8


def test_cutout_takes_a_square_around_any_pixel() -> None:
    torch.manual_seed(0)
    x = torch.ones(6000, 2, 5, 7)
    y = cut_out(x, 3, "train")
    gone = y[:, 0] == 0
    assert torch.equal(gone, y[:, 1] == 0)
    rows, cols = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows[:, :, None] & cols[:, None, :])
    assert set(rows.sum(1).tolist()) == set(cols.sum(1).tolist()) == {2, 3}
    # The centre is in row 0 of 5 once in 5: then the first two rows are gone, and row 2 is not.
    first = float((gone.any(2)[:, 0] & ~gone.any(2)[:, 2]).float().mean())
    assert abs(first - 1 / 5) < 5 * math.sqrt(0.16 / 6000)
    assert torch.equal(x, torch.ones_like(x))


def test_distillation_has_the_gradient_of_its_formula() -> None:
    """(1 - w) CE + w T^2 sum_c p_c (log p_c - log q_c), against autograd in float64."""
    teacher, model = network(5).eval(), still()
    how = Distillation(3.0, 0.7)
    gradients: list[torch.Tensor] = []

    class Watch(Method):
        def after_backward(self, model: nn.Module) -> None:
            gradients.extend(p.grad.clone() for p in model.parameters() if p.grad is not None)

    train(
        model,
        BATCHES[:1],
        Recipe(1, 1e-9, "SGD", options=TrainingOptions(distillation=how)),
        methods=[Watch()],
        teacher=teacher.train(),
    )
    assert teacher.training
    twin, teacher = still().double(), teacher.eval().double()
    x, y = X[:8].double(), Y[:8]
    outputs, wanted = twin(x), teacher(x).detach()
    p, log_q = (wanted / 3).softmax(1), (outputs / 3).log_softmax(1)
    kl = (p * (p.log() - log_q)).sum(1).mean()
    (0.3 * functional.cross_entropy(outputs, y) + 0.7 * 9 * kl).backward()
    for found, parameter in zip(gradients, twin.parameters(), strict=True):
        torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-4, atol=1e-6)
    pixels = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    flat = [t.permute(0, 2, 3, 1).reshape(-1, 3) for t in pixels]
    torch.testing.assert_close(distilled(*pixels, how, ""), distilled(*flat, how, ""))


def test_ema_is_the_average_of_the_weights_after_each_step() -> None:
    class Watch(Method):
        def __init__(self) -> None:
            self.seen: list[dict[str, torch.Tensor]] = []

        def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            self.seen.append({name: t.clone().double() for name, t in model.state_dict().items()})

    watch, model, validated = Watch(), network(), []
    expected = {name: t.clone().double() for name, t in model.state_dict().items()}
    by_epoch = []

    def validate(model: nn.Module) -> float:
        assert not model.training
        validated.append({name: t.clone().double() for name, t in model.state_dict().items()})
        return 0.0

    trained(model=model, options=TrainingOptions(ema=Ema(0.4)), methods=[watch], validate=validate)
    plain = Watch()
    trained(model=network(), methods=[plain])
    for n, (weights, own) in enumerate(zip(watch.seen, plain.seen, strict=True), 1):
        decay = min(0.4, (1 + n) / (10 + n))
        for name, w in weights.items():
            assert torch.equal(w, own[name])  # the average does not disturb the training
            expected[name] = w if "num_batches" in name else decay * expected[name] + (1 - decay) * w
        if n in (5, 10):
            by_epoch.append(dict(expected))
    for found, of in zip([*validated, model.state_dict()], [*by_epoch, expected], strict=True):
        for name, t in of.items():
            torch.testing.assert_close(found[name].double(), t, rtol=1e-5, atol=1e-6)


def test_an_average_of_held_weights_is_held() -> None:
    """That of weights on their way to levels is between them."""
    model = still()
    freezing = Freezing(model, {"3": Levels(equal_levels(2))}, (0.5, 1.0))
    masks = {"0": torch.rand(9, 4, generator=torch.Generator().manual_seed(0)) > 0.5}
    trained(model=model, options=TrainingOptions(ema=Ema(0.9)), methods=[freezing, Masked(model, masks)])
    assert len(model[3].weight.unique()) <= 4  # type: ignore[index,union-attr]
    assert not model[0].weight.flatten(1).T[~masks["0"]].any()  # type: ignore[index,union-attr]


@pytest.mark.parametrize("group", [2, 3, 7])
def test_accumulated_gradients_are_those_of_one_batch(group: int) -> None:
    """The last batch is smaller, and five batches are no whole number of groups."""
    x, y = X[:37], Y[:37]
    small = list(zip(x.split(8), y.split(8), strict=True))
    large = list(zip(x.split(8 * group), y.split(8 * group), strict=True))
    found, whole = trained(small, options=TrainingOptions(accumulate=group)), trained(large)
    assert close(found, whole)
    assert not close(found, trained(small))


def test_methods_see_a_step_once_however_many_batches_it_has() -> None:
    calls: list[str] = []

    class Watch(Method):
        def before_forward(self, model: nn.Module) -> None:
            calls.append("before")

        def after_backward(self, model: nn.Module) -> None:
            calls.append("backward")

        def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            calls.append("step")

    train(still(), BATCHES, Recipe(1, options=TrainingOptions(accumulate=2)), methods=[Watch()])
    assert calls == ["before", "backward", "step"] * 3


class Course:
    """A validation that follows a list; it keeps the weights that it was shown."""

    def __init__(self, *values: float) -> None:
        self.values, self.seen = values, []  # type: ignore[var-annotated]

    def __call__(self, model: nn.Module) -> float:
        self.seen.append({name: t.clone() for name, t in model.state_dict().items()})
        return self.values[len(self.seen) - 1]


def fit(course: Course, options: TrainingOptions, **more: Any) -> tuple[nn.Module, list[dict[str, Any]]]:
    model = network()
    log = train(model, BATCHES, Recipe(5, 0.01, options=options), validate=course, **more)
    return model, log


@pytest.mark.parametrize(("keep", "best"), [("highest", 1), ("lowest", 3)])
@pytest.mark.parametrize("ema", [None, Ema(0.9)])
def test_the_best_epoch_is_kept(keep: Any, best: int, ema: Ema | None) -> None:
    """On a tie the earlier one."""
    course = Course(2, 3, 3, 1, 1)
    model, log = fit(course, TrainingOptions(keep=keep, ema=ema))
    for name, t in model.state_dict().items():
        assert torch.equal(t, course.seen[best][name])
    assert log[-1] == {"stage": "train", "epoch": best, "best_validation": course.values[best]}
    assert [row["validation"] for row in log[:-1]] == [2, 3, 3, 1, 1]


def test_a_validation_that_is_no_number_is_never_the_best() -> None:
    course = Course(math.nan, 1, math.nan, 2, math.nan)
    model, log = fit(course, TrainingOptions(keep="highest"))
    assert log[-1]["epoch"] == 3
    assert torch.equal(model[0].weight, course.seen[3]["0.weight"])  # type: ignore[index]
    model, log = fit(Course(*[math.nan] * 5), TrainingOptions(keep="lowest", patience=4))
    assert len(log) == 4


def test_patience_ends_a_training() -> None:
    course = Course(1, 2, 2, 1, 9)
    model, log = fit(course, TrainingOptions(keep="highest", patience=2))
    assert len(course.seen) == 4
    assert log[-1]["epoch"] == 1
    assert torch.equal(model[0].weight, course.seen[1]["0.weight"])  # type: ignore[index]


def test_methods_with_a_goal_keep_no_epoch_before_it() -> None:
    """An epoch before the last share is frozen has weights that are on no level, whatever its validation."""
    model = network()
    course = Course(9, 8, 1, 2, 1)
    freezing = Freezing(model, {"5": Levels(equal_levels(2))}, (0.5, 0.8, 1.0))
    options = TrainingOptions(keep="highest")
    train(model, BATCHES, Recipe(5, 0.01, options=options), validate=course, methods=[freezing])
    assert torch.equal(model[5].weight, course.seen[3]["5.weight"])  # type: ignore[index]
    for of in (lambda m: Admm(m, {"5": BlockSparse(4, 1, 0.5)}), lambda m: Gsm(m, 2)):
        model, course = network(), Course(9, 8, 1, 2, 1)
        train(model, BATCHES, Recipe(5, 0.01, options=options), validate=course, methods=[of(model)])
        assert torch.equal(model[5].weight, course.seen[4]["5.weight"])  # type: ignore[index]


class Shuffled:
    """A loader that draws order and noise from torch's global generator."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for i in torch.randperm(5):
            x, y = BATCHES[i]
            yield x + 0.1 * torch.randn_like(x), y


class Killed(Exception):
    pass


class Kill(Method):
    """Stops the training after so many steps; 0: it goes on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"options": TrainingOptions(precision="bf16")},
    "nesterov": {"optimizer": "SGD", "nesterov": True},
    "decayed": {"optimizer": "SGD", "weight_decay": 0.1, "decayed": "weights"},
    "smoothing": {"options": TrainingOptions(label_smoothing=0.1)},
    "mixup": {"options": TrainingOptions(mixing=Mixup())},
    "cutout": {"options": TrainingOptions(mixing=Cutout(3))},
    "distillation": {"options": TrainingOptions(distillation=Distillation())},
    "ema": {"options": TrainingOptions(ema=Ema())},
    "accumulate": {"options": TrainingOptions(accumulate=2)},
    "best": {"options": TrainingOptions(keep="highest")},
    "patience": {"options": TrainingOptions(keep="lowest", patience=1)},
    "cosine": {"optimizer": "SGD", "scheduler": "cosine", "warmup": 1.0},
    "all": {
        "optimizer": "SGD",
        "nesterov": True,
        "weight_decay": 0.1,
        "decayed": "weights",
        "options": TrainingOptions("bf16", 2, 0.1, Mixup(), Distillation(), Ema(0.9), "highest", 2),
    },
}
METHODS = {
    "none": lambda model: [],
    "admm": lambda model: [Admm(model, {"5": BlockSparse(4, 1, 0.5)})],
    "freezing": lambda model: [Freezing(model, {"5": Levels(equal_levels(2))}, (0.3, 0.6, 1.0))],
    "gsm": lambda model: [Gsm(model, 2)],
    "masks": lambda model: [Masked(model, {"5": torch.eye(64, 5, dtype=torch.bool)})],
}


def validate(model: nn.Module) -> float:
    with torch.no_grad():
        return float(functional.cross_entropy(model(X), Y))


@pytest.mark.parametrize(
    ("case", "method"), [*((case, "none") for case in CASES), *(("all", method) for method in METHODS)]
)
@pytest.mark.parametrize("step", [1, 7])
def test_a_training_that_was_killed_within_an_epoch_goes_on_to_the_same_bits(
    tmp_path: Path, case: str, method: str, step: int
) -> None:
    recipe = Recipe(**{"epochs": 4, "lr": 0.02, "scheduler": CONSTANT, **CASES[case]})
    keys: dict[str, Any] = {"validate": validate}
    if recipe.options.distillation:
        keys["teacher"] = still(9)
    whole, broken, fresh = network(), network(), network(8)

    def fit(model: nn.Module, after: int, kept: Checkpoint | None) -> list[dict[str, Any]]:
        methods = [*METHODS[method](model), Kill(after)]
        return train(model, Shuffled(), recipe, methods=methods, checkpoint=kept, **keys)

    log = fit(whole, 0, None)
    kept = Checkpoint(tmp_path / "x", {}, every_s=0)
    with pytest.raises(Killed):
        fit(broken, step + 1, kept)
    _, meta = load_checkpoint(tmp_path / "x")
    assert (meta["epoch"], meta["batch"]) != (0, 0)
    assert meta["batch"]  # within an epoch
    if step == 7 and recipe.options.accumulate == 1:
        assert (meta["epoch"], meta["batch"]) == (1, 2)
    torch.manual_seed(99)
    assert fit(fresh, 0, kept) == log
    assert same(whole, fresh)
    again = network(8)
    assert fit(again, 0, kept) == log
    assert same(whole, again)


@pytest.mark.parametrize("multiply", ["torch", "tiles"])
def test_options_hold_on_chips(tmp_path: Path, multiply: Any) -> None:
    """All of them, killed within an epoch; bfloat16 goes through converters and tiles too."""
    hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
    recipe = Recipe(2, 0.02, "SGD", options=CASES["all"]["options"])

    def fit(seed: int, after: int, kept: Checkpoint | None) -> tuple[nn.Module, list[dict[str, Any]]]:
        model = network().eval()
        mapped, _ = calibrate(map_network(model, hardware, X[:1]), model, BATCHES)
        training = trainable_network(network(seed).eval(), mapped, multiply=multiply)
        keys = {"methods": [Kill(after)], "teacher": still(9), "validate": validate, "checkpoint": kept}
        log = train(training, Shuffled(), recipe, **keys)  # type: ignore[arg-type]
        assert not training.training
        return training, log

    whole, log = fit(3, 0, None)
    kept = Checkpoint(tmp_path / "x", {}, every_s=0)
    with pytest.raises(Killed):
        fit(3, 5, kept)
    assert load_checkpoint(tmp_path / "x")[1]["batch"] == 2
    fresh, again = fit(3, 0, kept)
    assert again == log
    assert same(whole, fresh)


def test_a_checkpoint_within_an_epoch_is_as_old_as_asked_for(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "x", {}, every_s=3600)
    with pytest.raises(Killed):
        train(network(), BATCHES, Recipe(2), methods=[Kill(3)], checkpoint=kept)
    assert not kept.path.exists()


def refused(**keys: Any) -> str:
    arguments = {name: keys.pop(name) for name in ("teacher", "loss", "batches") if name in keys}

    def call() -> None:
        options = TrainingOptions(**keys.pop("options", {}))
        train(still(), arguments.pop("batches", BATCHES), Recipe(1, options=options, **keys), **arguments)

    with pytest.raises(XbarError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"options": {"precision": "fp16"}}, "precision: unknown name 'fp16'"),
        ({"options": {"keep": "best"}}, "keep: unknown name 'best'"),
        ({"options": {"keep": "highest"}}, "keep = 'highest': needs a validation; give validate="),
        ({"options": {"patience": 2}}, "patience = 2: has an effect with keep = 'highest' or 'lowest' only"),
        ({"options": {"accumulate": 0}}, "accumulate = 0: must lie between 1"),
        ({"options": {"mixing": 0.2}}, "mixing = 0.2: must be a Mixup or Cutout, or None"),
        ({"options": {"ema": 0.9}}, "ema = 0.9: must be a Ema, or None"),
        (
            {"options": {"label_smoothing": 0.1}, "loss": nn.MSELoss()},
            "label_smoothing = 0.1: acts on the cross-entropy",
        ),
        ({"options": {"distillation": Distillation()}}, "distillation: needs the network that is followed"),
        ({"teacher": nn.Flatten()}, "teacher: has an effect with"),
        (
            {"options": {"distillation": Distillation()}, "teacher": nn.Flatten()},
            "train: distillation: the teacher gives (8, 36) float32, the network (8, 5) float32",
        ),
        (
            {"options": {"mixing": Cutout(2)}, "batches": [(X.flatten(1), Y)]},
            "train: Cutout: inputs are (40, 36) float32; must be images",
        ),
        (
            {"options": {"mixing": Mixup()}, "batches": [(X.flatten(1).long(), Y)]},
            "train: Mixup: inputs are (40, 36) int64; must be floating point",
        ),
        (
            {"options": {"mixing": Mixup()}, "batches": [(X, [1])]},
            "train: Mixup: targets are a list; must be a tensor",
        ),
        ({"nesterov": True}, "nesterov = True: Adam takes no nesterov"),
        (
            {"optimizer": "SGD", "nesterov": True, "momentum": 0.0},
            "optimizer SGD: Nesterov momentum requires",
        ),
        ({"decayed": "weights"}, "decayed = 'weights': has an effect with a weight_decay above 0 only"),
        (
            {"decayed": "weights", "weight_decay": 0.1, "optimizer": torch.optim.SGD},
            "decayed = 'weights': has an effect with the name of an optimiser only; SGD gets the parameters",
        ),
        ({"decayed": "norms"}, "decayed: unknown name 'norms'"),
    ],
)
def test_what_cannot_go_together_is_refused(keys: dict[str, Any], message: str) -> None:
    assert refused(**keys).startswith(message)
