"""Preset `paper` of visible structure retrieval, number by number.

Zangeneh et al., "Visible Structure Retrieval for Lightweight Image-Based Relocalisation",
BMVC 2025 (arXiv 2511.12503). The ids name the sections; "nothing said": the preset leaves out
what the paper does not name.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.distributions import MultivariateNormal, Normal, kl_divergence

from edge_reloc_export.nets.dinov2 import Dinov2, VitShape
from edge_reloc_export.nets.visible_structure import REPRESENTATION, ConditionalVae
from edge_reloc_export.training.visible_structure import command
from edge_reloc_export.training.visible_structure.bank import Bank
from edge_reloc_export.training.visible_structure.generative import (
    PAPER,
    PRESETS,
    GenerativeTrainer,
    Normalisation,
    fixed_noise,
    kl_weight,
    preset,
)

TOKEN = 768  # of the base DINOv2
POINTS = 60


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Points (P,3) of a place that is longer than high."""
    return np.random.default_rng(0).uniform([-20, 3, 0], [80, 43, 9], (POINTS, 3))


@pytest.fixture(scope="module")
def trainer(points: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> GenerativeTrainer:
    """At the published size, with tokens that are not of unit length."""
    generator = np.random.default_rng(1)
    bank = Bank(
        embedding=generator.normal(0, 1.5, (3, TOKEN)).astype(np.float32),
        view=np.arange(3),
        start=np.array([0, 20, 40, 60]),
        point_id=np.arange(POINTS, dtype=np.int32),
        whole=np.ones(3, bool),
        unit=False,
    )
    checkpoint = tmp_path_factory.mktemp("paper") / "vae.pt"
    return GenerativeTrainer(bank, points, np.arange(3), PAPER, checkpoint)


@pytest.mark.parametrize(
    ("field", "published"),
    [
        pytest.param("objective", "elbo", id="eq. 1: the ELBO is maximised"),
        pytest.param("width", 512, id="5: 512 neurons a layer"),
        pytest.param("latent", 4, id="5: a latent of 4 numbers"),
        pytest.param("fourier", 0, id="5: points enter by a learned layer alone"),
        pytest.param("iterations", 100_000, id="5: 100k iterations"),
        pytest.param("learning_rate", 1e-3, id="5: largest learning rate 0.001"),
        pytest.param("weight_decay", 0.0, id="5: Adam; of decay nothing said"),
        pytest.param("largest_gradient", math.inf, id="of cutting gradients nothing said"),
        pytest.param("photos", 128, id="5: a batch of 128 images"),
        pytest.param("points", 50, id="5: of 50 points each"),
        pytest.param("sparseness", 0.0, id="5: random points, none preferred"),
        pytest.param("samples", 50, id="5: 50 Monte Carlo samples"),
        pytest.param("kl_start", 20_000, id="5: KL term after 20k iterations"),
        pytest.param("kl_period", 2_000, id="5: in cycles of 2k iterations"),
        pytest.param("class_token", True, id="5: the class token, noise in its unit"),
        pytest.param("noise", 1.0, id="5: noise of variance 1"),
        pytest.param("unit_noise", False, id="5: noise; of unit length nothing said"),
        pytest.param("whole_photos", True, id="3.2: images; of parts of them nothing said"),
        pytest.param("unit_cube", True, id="5: points in a unit cube"),
        pytest.param("radius", 5.0, id="5: radius of 5 m"),
    ],
)
def test_the_preset_says_so(field: str, published: object) -> None:
    assert getattr(PRESETS["paper"], field) == published


def test_what_deviates_has_a_name_of_its_own() -> None:
    assert PRESETS["paper_vlad"] == replace(PAPER, name="paper_vlad", class_token=False)
    assert PRESETS.keys() == {"quick", "paper", "paper_vlad"}


def test_5_five_layers_and_the_input_again_at_the_third(trainer: GenerativeTrainer) -> None:
    for network, entering in (
        (trainer.network.encoder, TOKEN + REPRESENTATION),
        (trainer.network.decoder, TOKEN + REPRESENTATION),
    ):
        inputs: dict[str, int] = {}
        for name, layer in network.named_children():
            order = name.partition("_")[0]
            inputs[order] = inputs.get(order, 0) + layer.in_features
        hidden = 512
        assert inputs == {
            "first": entering,
            "second": hidden,
            "third": hidden + entering,
            "fourth": hidden,
            "fifth": hidden,
            "last": hidden,
        }


def test_5_a_point_and_a_latent_are_represented_by_64_numbers(trainer: GenerativeTrainer) -> None:
    assert trainer.network.point_layer.out_features == 64
    assert trainer.network.latent_layer.out_features == 64


def test_table_1_the_decoder_takes_seven_megabytes(trainer: GenerativeTrainer) -> None:
    network = trainer.network
    parts = [*network.decoder.parameters(), *network.latent_layer.parameters()]
    assert int(4 * sum(p.numel() for p in parts) / 2**20) == 7


def test_5_the_base_model_of_dinov2_has_a_token_of_768_numbers() -> None:
    with torch.device("meta"):
        base = Dinov2(
            VitShape(width=TOKEN, depth=12, patch_px=14, grid=37, hidden=3072, registers=0)
        )
    # Not in ViSiR: the base size of vision transformers is known as the one of 86 million.
    assert sum(p.numel() for p in base.parameters()) // 10**6 == 86


def test_5_noise_of_variance_one_is_added_to_the_token(trainer: GenerativeTrainer) -> None:
    torch.manual_seed(0)
    embedding, drawn = trainer._batch()
    assert embedding.shape == (128, TOKEN) and drawn.shape == (128, 50, 3)
    tokens = trainer._embedding
    nearest = torch.cdist(embedding, tokens).argmin(dim=1)
    variance = float((embedding - tokens[nearest]).var())
    assert variance == pytest.approx(1.0, abs=0.02)
    assert trainer.network.gain == 1.0


def test_5_the_range_of_the_points_is_the_unit_cube(
    trainer: GenerativeTrainer, points: np.ndarray
) -> None:
    normalised = trainer._points.numpy()
    np.testing.assert_allclose(normalised.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(normalised.max(axis=0), 1, atol=1e-6)
    back = Normalisation.of(points, True)
    np.testing.assert_allclose(normalised * back.scale.numpy() + back.offset.numpy(), points, 1e-4)


def test_5_the_covariance_starts_as_a_tenth_of_the_identity(trainer: GenerativeTrainer) -> None:
    factor = trainer.network.cholesky().detach()
    torch.testing.assert_close(factor @ factor.T, 0.1 * torch.eye(3))
    assert factor.triu(1).abs().sum() == 0  # lower triangular
    assert trainer.network.log_diagonal.requires_grad and trainer.network.off_diagonal.requires_grad


def test_eq_1_and_2_the_loss_is_the_negative_elbo() -> None:
    torch.manual_seed(0)
    vae = ConditionalVae(8, width=16)
    with torch.no_grad():
        vae.off_diagonal.normal_()
    embedding, points = torch.randn(3, 8), torch.rand(3, 5, 3)
    torch.manual_seed(1)
    loss, nll, kl = vae.negative_elbo(embedding, points, samples=50, kl_weight=0.3)
    torch.manual_seed(1)
    mean, log_variance = vae.encode(embedding, points)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    latent = mean + torch.randn(50, *mean.shape) * posterior.stddev
    decoded = vae.decode(embedding, latent.permute(1, 0, 2, 3).reshape(3, -1, 4))
    likelihood = MultivariateNormal(
        decoded.reshape(3, 50, 5, 3), scale_tril=vae.cholesky()
    ).log_prob(points[:, None])
    torch.testing.assert_close(nll, -likelihood.mean())
    prior = Normal(torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(kl, kl_divergence(posterior, prior).sum(dim=-1).mean())
    torch.testing.assert_close(loss, nll + 0.3 * kl)


def test_5_the_kl_term_warms_up_in_cycles() -> None:
    assert all(kl_weight(PAPER, n) == 0 for n in (0, 10_000, 19_999, 20_000))
    cycle = [kl_weight(PAPER, n) for n in range(20_000, 22_000)]
    assert cycle == [kl_weight(PAPER, n) for n in range(58_000, 60_000)]
    assert np.all(np.diff(cycle) >= 0) and max(cycle) == 1.0  # from 0 to 1 (Fu et al. 2019)
    assert kl_weight(PAPER, 99_999) == 1.0


def test_5_one_cycle_of_the_learning_rate(trainer: GenerativeTrainer) -> None:
    assert trainer.schedule.total_steps == 100_000
    (group,) = trainer.optimizer.param_groups
    assert group["max_lr"] == 1e-3 and group["weight_decay"] == 0.0
    assert group["initial_lr"] < 1e-3 > group["min_lr"]


def test_5_one_thousand_samples_of_the_prior_at_inference() -> None:
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    assert parser.parse_args([]).samples == 1000
    noise = fixed_noise(1000, PAPER.latent)
    assert noise.shape == (1000, 4)
    assert abs(float(noise.mean())) < 0.05 and float(noise.var()) == pytest.approx(1, abs=0.06)


def test_3_3_the_radius_is_an_option() -> None:
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    assert parser.parse_args([]).radius is None  # the preset's, 5 m
    assert parser.parse_args(["--radius", "2.5"]).radius == 2.5


def test_another_length_keeps_the_proportions(tmp_path: Path) -> None:
    short = preset("paper", iterations=10_000)
    assert (short.iterations, short.kl_start) == (10_000, 2_000)
    assert replace(short, iterations=100_000, kl_start=20_000, kl_period=2_000) == PAPER
