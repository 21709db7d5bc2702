"""Training of both heads on a made-up place whose visibility is known."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small products: threads only wait for each other

from edge_reloc_export.interruption import PATIENCE_S, Interrupted, Interruption, long_program
from edge_reloc_export.nets.visible_structure import ConditionalVae, FoldedDecoder
from edge_reloc_export.packing.cells import make_cells
from edge_reloc_export.training.session import held_out_views
from edge_reloc_export.training.visible_structure.bank import Bank
from edge_reloc_export.training.visible_structure.cells import (
    CellsConfig,
    cell_shares,
    predict_shares,
    train_cells,
)
from edge_reloc_export.training.visible_structure.generative import (
    GenerativeConfig,
    GenerativeTrainer,
    fixed_noise,
    kl_weight,
    preset,
)
from edge_reloc_export.training.visible_structure.session import folded
from edge_reloc_export.training.visible_structure.tuning import cells_curve

VIEWS, POINTS, EMBEDDING = 120, 2000, 16


@pytest.fixture(scope="module")
def place() -> tuple[Bank, np.ndarray, np.ndarray]:
    """Points on a ring; a view at an angle sees the sixth of the ring it faces."""
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, 2 * np.pi, POINTS)
    xyz = np.column_stack([5 * np.cos(angle), 5 * np.sin(angle), generator.uniform(0, 2, POINTS)])
    cells = make_cells(xyz, np.zeros_like(xyz), np.ones(POINTS, np.int64), cells=48)
    xyz, angle = xyz[cells.order], angle[cells.order]
    heading = np.linspace(0, 2 * np.pi, VIEWS, endpoint=False)
    frequencies = np.arange(1, EMBEDDING // 2 + 1)
    phase = heading[:, None] * frequencies
    embedding = np.concatenate([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    seen = [np.flatnonzero(np.abs(np.angle(np.exp(1j * (angle - h)))) < np.pi / 6) for h in heading]
    bank = Bank(
        embedding=embedding,
        view=np.arange(VIEWS),
        start=np.cumsum([0] + [len(s) for s in seen]),
        point_id=np.concatenate(seen).astype(np.int32),
        whole=np.ones(VIEWS, bool),
    )
    return bank, xyz, cells.start


def test_cells_head_finds_what_a_view_sees(place: tuple[Bank, np.ndarray, np.ndarray]) -> None:
    bank, _, cell_start = place
    held_out = held_out_views(VIEWS)
    share = cell_shares(bank, cell_start)
    head = train_cells(
        bank, share, np.flatnonzero(~held_out), CellsConfig(steps=400), lambda step, loss: None
    )
    rows = np.flatnonzero(held_out)
    predicted = predict_shares(head, bank.embedding[rows])
    curve = cells_curve(predicted, [bank.seen(r) for r in rows], cell_start)
    at_quarter = float(np.interp(0.25, curve.share, curve.recall))
    # A view sees a sixth of the ring: a quarter of the map, well chosen, holds nearly all.
    assert at_quarter > 0.9
    # Calibrated on the views it knows: what is predicted half visible is half visible.
    known = np.flatnonzero(~held_out)
    predicted = predict_shares(head, bank.embedding[known])
    middle = (predicted > 0.35) & (predicted < 0.65)
    assert middle.sum() > 20
    assert abs(share[known][middle].mean() - 0.5) < 0.12


def test_folded_decoder_equals_the_decoder() -> None:
    torch.manual_seed(0)
    vae = ConditionalVae(EMBEDDING, width=32, fourier=2).eval()
    scale, offset = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([1.0, -1.0, 0.5])
    noise = fixed_noise(50, vae.latent)
    embedding = torch.randn(1, EMBEDDING)
    with torch.no_grad():
        plain = vae.decode(embedding, noise[None])[0] * scale + offset
        np.testing.assert_allclose(
            FoldedDecoder(vae, noise, scale, offset)(embedding).numpy(), plain.numpy(), atol=1e-5
        )


QUICK = GenerativeConfig(iterations=700, photos=16, points=16, samples=16, width=64)
ELBO = GenerativeConfig(
    objective="elbo",
    iterations=700,
    photos=16,
    points=16,
    samples=1,
    width=64,
    fourier=2,
    learning_rate=2e-3,
    weight_decay=0.0,
    kl_start=50,
    kl_period=200,
    sparseness=0.0,
)


@pytest.mark.parametrize("config", [QUICK, ELBO], ids=["likelihood", "elbo"])
def test_generative_head_covers_what_a_view_sees(
    config: GenerativeConfig, place: tuple[Bank, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    bank, xyz, _ = place
    trainer = GenerativeTrainer(bank, xyz, np.arange(VIEWS), config, tmp_path / "vae.pt")
    decoder = folded(trainer.run(lambda step, loss: None), trainer.normalisation, 300)
    shares = []
    for entry in range(0, VIEWS, 10):
        with torch.no_grad():
            generated = decoder(torch.from_numpy(bank.embedding[entry][None])).numpy()
        distance = np.linalg.norm(xyz[:, None] - generated[None], axis=2).min(axis=1)
        nearest = np.argsort(distance)[: POINTS // 4]
        shares.append(np.isin(bank.seen(entry), nearest).mean())
    assert np.mean(shares) > 0.8  # a quarter of the map at random would hold 0.25


def test_interrupted_training_ends_as_an_uninterrupted_one(
    place: tuple[Bank, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    bank, xyz, _ = place
    rows = np.arange(VIEWS)

    def trainer(name: str) -> GenerativeTrainer:
        return GenerativeTrainer(bank, xyz, rows, QUICK, tmp_path / name)

    whole = trainer("whole.pt").run(lambda step, loss: None)

    class Interrupted(Exception):
        """Stands for Ctrl-C."""

    def interrupt(step: int, loss: float) -> None:
        if step >= 550:  # after the checkpoint at 500
            raise Interrupted

    with pytest.raises(Interrupted):
        trainer("cut.pt").run(interrupt)
    resumed = trainer("cut.pt")
    assert resumed.iteration == 500
    again = resumed.run(lambda step, loss: None)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda bank, xyz, rows: (bank, xyz + 1e-3, rows),
        lambda bank, xyz, rows: (replace(bank, embedding=bank.embedding[::-1].copy()), xyz, rows),
        lambda bank, xyz, rows: (replace(bank, point_id=bank.point_id[::-1].copy()), xyz, rows),
        lambda bank, xyz, rows: (bank, xyz, rows[held_out_views(VIEWS)]),
    ],
    ids=["points", "photos", "observations", "held out"],
)
def test_a_checkpoint_of_another_map_is_not_gone_on_with(
    change: Callable[..., tuple[Bank, np.ndarray, np.ndarray]],
    place: tuple[Bank, np.ndarray, np.ndarray],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bank, xyz, _ = place
    rows, config = np.arange(VIEWS), replace(QUICK, iterations=3)
    checkpoint = tmp_path / "vae.pt"
    GenerativeTrainer(bank, xyz, rows, config, checkpoint).run(lambda step, loss: None)
    assert GenerativeTrainer(bank, xyz, rows, config, checkpoint).iteration == 3
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert GenerativeTrainer(*change(bank, xyz, rows), config, checkpoint).iteration == 0
    assert caplog.messages[-1] == (
        f"{checkpoint}: the checkpoint is of another map, schedule or version: starting afresh"
    )


def test_a_checkpoint_of_another_version_is_not_gone_on_with(
    place: tuple[Bank, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, xyz, _ = place
    arguments = (bank, xyz, np.arange(VIEWS), replace(QUICK, iterations=2), tmp_path / "vae.pt")
    GenerativeTrainer(*arguments).run(lambda step, loss: None)
    monkeypatch.setattr("edge_reloc.__version__", "0.0.0")
    assert GenerativeTrainer(*arguments).iteration == 0


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_learnt(
    kind: signal.Signals,
    place: tuple[Bank, np.ndarray, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bank, xyz, _ = place
    config, checkpoint = replace(QUICK, iterations=40), tmp_path / "vae.pt"
    handlers = [signal.getsignal(k) for k in (signal.SIGINT, signal.SIGTERM)]

    def trainer(path: Path) -> GenerativeTrainer:
        return GenerativeTrainer(bank, xyz, np.arange(VIEWS), config, path)

    def stop(step: int, loss: float | None) -> None:
        if step == 23:  # as `timeout` does: to the process, and to its group
            os.kill(os.getpid(), kind)
            os.kill(os.getpid(), kind)

    with pytest.raises(Interrupted, match=r"iteration 23 of 40 is kept in .*vae\.pt; "):
        trainer(checkpoint).run(stop)
    again = trainer(checkpoint)
    assert again.iteration == 23
    parts = again.run(lambda step, loss: None)
    whole = trainer(tmp_path / "whole.pt").run(lambda step, loss: None)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    checkpoint.unlink()
    assert long_program(lambda argv: len(str(trainer(checkpoint).run(stop))))([]) == 130
    error = capsys.readouterr().err
    assert error.startswith("interrupted: iteration 23 of 40") and error.count("\n") == 1
    assert [signal.getsignal(k) for k in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_signal_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.asked
        interruption._asked_s -= 2 * PATIENCE_S
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_between_trainings_ends_as_ctrl_c_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(argv: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert long_program(main)([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_nothing_is_shown_before_it_was_measured(
    place: tuple[Bank, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    bank, xyz, _ = place
    config = replace(QUICK, iterations=60)
    shown: list[tuple[int, float | None]] = []
    trainer = GenerativeTrainer(bank, xyz, np.arange(VIEWS), config, tmp_path / "vae.pt")
    trainer.run(lambda step, loss: shown.append((step, loss)))
    assert [step for step, _ in shown] == list(range(61))
    assert all(loss is None for step, loss in shown if step < trainer.report_every)
    assert all(loss is not None for step, loss in shown if step >= trainer.report_every)


def test_paper_preset_is_as_published() -> None:
    """Zangeneh et al. 2025, section 5."""
    config = preset("paper")
    assert (config.iterations, config.photos, config.points, config.samples) == (
        100_000,
        128,
        50,
        50,
    )
    assert (config.width, config.latent, config.fourier, config.unit_cube) == (512, 4, 0, True)
    assert (config.objective, config.sparseness, config.weight_decay) == ("elbo", 0.0, 0.0)
    assert kl_weight(config, 19_999) == 0.0
    assert kl_weight(config, 20_500) == pytest.approx(0.5)
    assert kl_weight(config, 99_999) == 1.0
    vae = ConditionalVae(768, width=config.width, latent=config.latent)
    np.testing.assert_allclose(
        (vae.cholesky() @ vae.cholesky().T).detach().numpy(), 0.1 * np.eye(3), atol=1e-6
    )
