"""The mathematics of domain methods, each by a case counted by hand."""

import math

import numpy as np
import pytest
import torch

from clinnlp.core.document import Document
from clinnlp.domains.base import Moments
from clinnlp.domains.coral import Coral, power
from clinnlp.domains.dann import Dann, reversed_gradient
from clinnlp.domains.mmd import Mmd
from clinnlp.domains.reweight import Reweight, effective_size
from clinnlp.domains.subspace import Subspace, main_directions
from clinnlp.errors import ConfigError, DataError


def notes(name: str, texts: list[str]) -> list[Document]:
    return [Document(f"{name}-{number}", f"{text} {number}") for number, text in enumerate(texts)]


def of(vectors: np.ndarray) -> Moments:
    return Moments(vectors.mean(0), np.cov(vectors.T), len(vectors))


def test_weights_are_odds_clipped_and_divided_by_their_mean_by_hand() -> None:
    weights = Reweight(clip=10).weights_of(np.array([0.5, 0.75, 0.99]))
    assert weights == pytest.approx(np.array([1, 3, 10]) * 3 / 14)
    assert effective_size(np.array([1.0, 1.0, 1.0, 1.0])) == 4
    assert effective_size(np.array([3.0, 1.0])) == pytest.approx(1.6), "16 / 10"
    assert Reweight(keep=0.5).weights_of(np.array([0.1, 0.9, 0.3, 0.8])).tolist() == [0, 1, 0, 1]


def test_source_notes_like_the_target_weigh_more() -> None:
    source = notes("s", ["fever and cough today"] * 30 + ["fracture of the left wrist"] * 30)
    target = notes("t", ["fever and cough today"] * 30 + ["fracture of the left wrist"] * 6)
    found = Reweight().weigh(source, target, None, 1)
    assert found.weights.mean() == pytest.approx(1)
    assert found.weights[:30].mean() == pytest.approx(5 / 3, abs=0.1), "30 of 36 against 30 of 60"
    assert found.weights[30:].mean() == pytest.approx(1 / 3, abs=0.1), "6 of 36 against 30 of 60"
    assert found.facts["effective sample size"] == pytest.approx(60**2 / (30 * (25 + 1) / 9), abs=4)
    assert not found.warnings
    kept = Reweight(keep=0.5).weigh(source, target, None, 1)
    assert kept.weights.tolist() == [1] * 30 + [0] * 30
    assert kept.facts["source notes kept"] == 30


def test_vectors_of_an_encoder_may_be_read_in_place_of_words() -> None:
    source, target = notes("s", ["a"] * 20), notes("t", ["a"] * 10)
    vectors = np.concatenate([np.zeros((10, 3)), np.ones((10, 3)), np.ones((10, 3))])
    found = Reweight(features="encoder").weigh(source, target, vectors, 1)
    assert Reweight(features="encoder").reads_vectors and not Reweight().reads_vectors
    assert found.weights[:10].max() < found.weights[10:].min()


def test_domains_without_a_note_in_common_are_told() -> None:
    found = Reweight().weigh(notes("s", ["fever cough"] * 40), notes("t", ["wrist fracture"] * 40), None, 1)
    (warning,) = found.warnings
    assert warning.startswith("a classifier tells source and target apart with AUC 1.000: the source has next to no")


def test_weight_on_too_few_notes_is_refused() -> None:
    source, target = notes("s", ["a"] * 401), notes("t", ["a"] * 40)
    vectors = np.concatenate([np.zeros((400, 1)), np.full((41, 1), 50.0)])
    with pytest.raises(DataError) as error:
        Reweight(features="encoder", clip=1e9).weigh(source, target, vectors, 1)
    assert "of 401 source notes (effective sample size)" in error.value.what
    assert error.value.next.startswith("lower domain.clip, give source notes more like the target, or choose")


def test_coral_gives_source_features_the_mean_and_covariance_of_the_target() -> None:
    random = np.random.default_rng(1)
    source, target = (
        random.normal(size=(500, 4)) * [1, 2, 3, 4] + 5,
        random.normal(size=(400, 4)) @ np.diag([2, 1, 1, 3]),
    )
    maps = Coral(use="features", ridge=1e-9).maps(of(source), of(target))
    mapped = source @ maps.source[0] + maps.source[1]
    assert mapped.mean(0) == pytest.approx(target.mean(0))
    assert np.cov(mapped.T) == pytest.approx(np.cov(target.T), abs=1e-6)
    assert maps.target is None, "target features are read as they are"
    assert power(np.diag([4.0, 9.0]), -0.5) == pytest.approx(np.diag([1 / 2, 1 / 3]))


def test_coral_loss_by_hand() -> None:
    source = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # variance 2 in the first direction
    target = torch.tensor([[0.0, 0.0], [0.0, 4.0]])  # variance 8 in the second
    assert float(Coral().loss(None, source, target, 0.5)) == pytest.approx((2**2 + 8**2) / (4 * 2**2))
    assert float(Coral().loss(None, source, source + 7, 0.5)) == 0, "means do not count"


def test_subspace_alignment_by_hand() -> None:
    """Source varies along x, target along y: x of the source becomes y, all else is dropped."""
    source = Moments(np.zeros(2), np.diag([4.0, 1.0]), 100)
    target = Moments(np.array([0.0, 3.0]), np.diag([1.0, 4.0]), 100)
    assert abs(main_directions(source.covariance, 1)[:, 0]) == pytest.approx([1, 0])
    maps = Subspace(dimensions=1).maps(source, target)
    assert maps.target is not None
    assert np.array([[5.0, 7.0]]) @ maps.target[0] + maps.target[1] == pytest.approx(np.array([[0.0, 7.0]]))
    assert np.array([[5.0, 7.0]]) @ maps.source[0] + maps.source[1] == pytest.approx(np.array([[0.0, 3.0]]))
    turned = Moments(np.zeros(2), np.array([[2.5, 1.5], [1.5, 2.5]]), 100)  # along (1, 1)
    aligned = np.array([[1.0, 0.0]]) @ Subspace(dimensions=1).maps(source, turned).source[0]
    assert abs(aligned) == pytest.approx(np.array([[0.5, 0.5]])), "cosine 1 / sqrt 2, along (1, 1) / sqrt 2"


def test_mmd_loss_by_hand() -> None:
    one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert float(Mmd(kernels=1).loss(None, one, other, 0)) == pytest.approx(2 - 2 * math.exp(-25 / 25))
    three = [2 - 2 * math.exp(-25 / (25 * width)) for width in (0.5, 1, 2)]
    assert float(Mmd(kernels=3).loss(None, one, other, 0)) == pytest.approx(sum(three) / 3)
    assert float(Mmd().loss(None, one, one, 0)) == 0


def test_the_gradient_is_reversed_and_scheduled() -> None:
    assert [round(Dann().strength(progress), 4) for progress in (0.0, 0.1, 1.0)] == [0.0, 0.4621, 0.9999]
    features = torch.tensor([1.0, 2.0], requires_grad=True)
    made = reversed_gradient(features, 0.25)
    assert made.tolist() == pytest.approx([1, 2])
    made.sum().backward()
    assert features.grad is not None and features.grad.tolist() == [-0.25, -0.25]


def test_the_domain_classifier_learns_while_features_flee_from_it() -> None:
    torch.manual_seed(0)
    method = Dann(hidden=4)
    head = method.head(2)
    source, target = torch.ones(3, 2, requires_grad=True), -torch.ones(2, 2)
    loss = method.loss(head, source, target, 1.0)
    loss.backward()
    assert source.grad is not None
    with torch.no_grad():
        fled = method.loss(head, source - 0.1 * source.grad, target, 1.0)
        learned = [weight - 0.1 * weight.grad for weight in head.parameters() if weight.grad is not None]
        for weight, better in zip(head.parameters(), learned, strict=True):
            weight.copy_(better)
        assert method.loss(head, source, target, 1.0) < loss < fled
    zeros = [torch.nn.init.zeros_(weight) for weight in head.parameters()]
    assert len(zeros) == 4 and float(method.loss(head, source, target, 1.0).detach()) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Reweight(clip=0.5), "domain.clip: must be 1 or more."),
        (lambda: Reweight(keep=1.0), "domain.keep: must be a share between 0 and 1. Next: give 0.5 for half."),
        (lambda: Subspace(dimensions=0), "domain.dimensions: must be 1 or more."),
        (lambda: Coral(weight=0), "domain.weight: must be over 0."),
        (lambda: Coral(ridge=-1), "domain.ridge: must be over 0."),
        (lambda: Mmd(kernels=0), "domain.kernels: must be 1 or more."),
        (lambda: Mmd(weight=-1), "domain.weight: must be over 0."),
        (lambda: Dann(hidden=0), "domain.hidden: must be 1 or more."),
        (lambda: Dann(steepness=0), "domain.steepness: must be over 0."),
    ],
)
def test_options_are_checked(make, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == told
