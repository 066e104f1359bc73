"""The stage "decoder": it learns, its critic starts when it should, nothing else changes, and resume is exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.train.smoke import ASSETS, changed, finite, in_this_process, weights
from torch import nn

from motionstream import cli
from motionstream.data.loader import Loader
from motionstream.data.video_crops import VideoCrops
from motionstream.lpips import LpipsNetwork
from motionstream.stream.video import write_mp4
from motionstream.train import named
from motionstream.train.checkpoint import newest_weights
from motionstream.train.patch_critic import PatchCritic, balance, critic_loss, maker_loss
from motionstream.train.recipe import RECIPE_FILE, DecoderRecipe, load
from motionstream.train.recipe import changed as edited
from motionstream.train.tiny_decoder import TinyDecoderStage, build, full_vae, start, trained_decoder
from motionstream.train.tiny_vae import lpips_network
from motionstream.vae import VideoVAE
from motionstream.wan.taehv import TaehvConfig, TaehvDecoder

LAST_BIAS = "layers.8.bias"


def recipe(name: str = "smoke", **changes: object) -> DecoderRecipe:
    made = named("decoder", name)
    assert isinstance(made, DecoderRecipe)
    return replace(made, device="cpu", **changes)  # type: ignore[arg-type]


def make(chain: Path, **changes: object) -> TinyDecoderStage:
    torch.manual_seed(0)
    with in_this_process():
        return build(recipe(**changes), ASSETS, chain)


@pytest.mark.parametrize(("name", "least", "most"), [("wan2.1", 9_844_611, 9_844_611), ("wan2.2", 56.5e6, 56.8e6)])
def test_the_recipes_have_the_papers_figures(name: str, least: float, most: float) -> None:
    made = recipe(name)
    assert (made.crop, made.frames, made.batch, made.steps, made.lr) == (144, 21, 16, 200_000, 3e-4)
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in TaehvDecoder(made.decoder).parameters())
    assert least <= parameters <= most


def test_a_crop_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="crop = 40, must be a multiple of 16"):
        edited(recipe("wan2.2"), ["crop=40"])
    with pytest.raises(ValueError, match="crop = 64"):
        edited(recipe(), ["crop=64"])


def test_a_few_steps_lower_the_loss(chain: Path) -> None:
    stage = make(chain, adversarial_start=1000)
    losses = [stage.step(step, 0.0)["l1"] for step in range(40)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_the_critic_starts_when_it_should_and_only_the_two_learn(chain: Path) -> None:
    stage = make(chain, adversarial_start=2)
    before, vae = weights(stage.critic), weights(stage.vae)  # type: ignore[arg-type]
    for step in range(4):
        decoder, average, critic = weights(stage.decoder), weights(stage.ema.average), weights(stage.critic)
        scalars = stage.step(step, 0.0)
        assert finite(scalars)
        assert scalars["skipped"] == 0
        assert changed(decoder, stage.decoder) == set(decoder)
        assert changed(average, stage.ema.average) == set(average)
        learned = changed(critic, stage.critic)  # the last bias only once a judgement is beyond the hinge
        assert learned | {LAST_BIAS} == (set(critic) if step >= 2 else {LAST_BIAS})
        assert ("critic_loss" in scalars) == ("adversarial" in scalars) == (step >= 2)
    assert changed(before, stage.critic) >= set(before) - {LAST_BIAS}
    assert not changed(vae, stage.vae)  # type: ignore[arg-type]


def test_the_decoders_loss_leaves_no_gradient_in_the_critic(chain: Path) -> None:
    stage = make(chain)
    video = stage._clips()
    made = stage.decoder(stage._latents(video), None)[0]
    stage._losses(made, video, judged=True)["loss"].backward()
    assert all(weight.grad is None for weight in stage.critic.parameters())
    assert all(weight.requires_grad for weight in stage.critic.parameters())
    assert all(weight.grad is not None and weight.grad.any() for weight in stage.decoder.parameters())


def test_losses_add_up_as_the_recipe_weighs_them(chain: Path, tmp_path: Path) -> None:
    stage = make(chain, lpips=str(lpips_file(tmp_path)), lpips_weight=0.7, adversarial_weight=0.2)
    video = stage._clips()
    made = stage.decoder(stage._latents(video), None)[0]
    assert made.shape == video.shape
    plain, judged = (stage._losses(made, video, judged) for judged in (False, True))
    rebuilt = plain["l1"] + 0.7 * plain["lpips"]
    assert plain["lpips"] > 0
    torch.testing.assert_close(plain["loss"], rebuilt)
    torch.testing.assert_close(judged["loss"], rebuilt + 0.2 * judged["balance"] * judged["adversarial"])
    (pull,) = torch.autograd.grad(judged["balance"] * judged["adversarial"], stage._last(), retain_graph=True)
    (wanted,) = torch.autograd.grad(rebuilt, stage._last())
    torch.testing.assert_close(pull.norm(), wanted.norm(), rtol=1e-2, atol=0)


def lpips_file(folder: Path) -> Path:
    torch.manual_seed(5)
    network = LpipsNetwork()
    for layer in network.lin:
        layer.weight.data.abs_()
    path = folder / "lpips.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_the_gradient_of_lpips_is_finite_where_features_are_silent(tmp_path: Path) -> None:
    network = LpipsNetwork.load(lpips_file(tmp_path))
    for layer in network.features:
        layer.bias.data.fill_(-100)  # type: ignore[operator]
    made = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(made, torch.ones(1, 3, 32, 32)).sum().backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


def test_missing_parts_are_named(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no LPIPS weights: name the file \(--lpips FILE\)"):
        lpips_network(recipe("wan2.1").lpips_weight, "")
    with pytest.raises(FileNotFoundError, match=r"wan2\.1-vae: no VAE there; name Wan's \(--vae FOLDER\)"):
        full_vae(tmp_path / "wan2.1-vae", "cpu", torch.float32)
    with pytest.raises(ValueError, match="latent_channels = 8, the recipe's decoder 16"):
        make(chain, decoder=TaehvConfig(16, 1, (8, 8, 8, 8)))
    with pytest.raises(ValueError, match=r"is a run of stage 'vae', not of 'decoder'"):
        trained_decoder(chain / "vae")


def test_it_may_start_from_a_file_of_its_sizes(tmp_path: Path) -> None:
    given = TaehvDecoder(recipe().decoder)
    given.save(tmp_path / "given.safetensors")
    started = start(recipe(init_from=str(tmp_path / "given.safetensors")))
    assert not changed(weights(given), started)
    assert all(weight.requires_grad for weight in started.parameters())
    with pytest.raises(ValueError, match=r"given\.safetensors is TaehvConfig.*the recipe wants"):
        start(recipe(init_from=str(tmp_path / "given.safetensors"), decoder=TaehvConfig(8, 1, (8, 8, 8, 8))))


def test_the_averaged_decoder_comes_back_from_its_run_and_from_its_file(chain: Path, tmp_path: Path) -> None:
    average = newest_weights(chain / "decoder", "ema", under="average")
    finished = trained_decoder(chain / "decoder")
    assert not changed(average, finished)
    finished.save(tmp_path / "mine.safetensors")
    assert not changed(average, TaehvDecoder.load(tmp_path / "mine.safetensors"))


def test_it_learns_from_wans_vae_and_a_folder_of_videos_in_bfloat16(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from tests.wan.random_vae import save_vae

    save_vae(tmp_path / "vae", "wan2.1")
    (tmp_path / "clips").mkdir()
    video = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), np.uint8)
    write_mp4(tmp_path / "clips" / "a.mp4", video, fps=24)
    sizes = TaehvConfig(16, 1, (8, 8, 8, 8))
    chosen = recipe(decoder=sizes, clips=str(tmp_path / "clips"), adversarial_start=0, dtype="bfloat16")
    vae: VideoVAE = full_vae(tmp_path / "vae", "cpu", torch.bfloat16)
    crops = VideoCrops(chosen.clips, chosen.size, chosen.frames, chosen.crop, chosen.seed)
    stage = TinyDecoderStage(chosen, Loader(crops, chosen.batch, workers=0), vae, None, start(chosen))
    before = weights(stage.decoder)
    scalars = stage.step(0, 0.0)
    assert finite(scalars)
    assert scalars["skipped"] == 0
    assert changed(before, stage.decoder) == set(before)
    assert {weight.dtype for weight in stage.decoder.parameters()} == {torch.float32}
    sheet = stage.sheet()
    assert sheet is not None
    assert sheet.shape == (3 * 32, 2 * 32, 3)


def test_the_critic_learns_to_tell_noise_from_stillness() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(8)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    still, noise = torch.rand(2, 1, 3, 1, 1).expand(2, 9, 3, 32, 32), torch.randn(2, 9, 3, 32, 32) / 2
    first = float(critic_loss(critic(still), critic(noise)).detach())
    for _ in range(10):
        optimizer.zero_grad()
        critic_loss(critic(still), critic(noise)).backward()
        optimizer.step()
    real, made = critic(still).detach(), critic(noise).detach()
    assert real.shape == (2, 3, 4, 4)
    assert float(critic_loss(real, made)) < 0.5 * first
    assert maker_loss(made) > maker_loss(real)


def test_hinge_and_balance_are_as_they_are_written() -> None:
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert critic_loss(real, made).item() == pytest.approx((0 + 0.5 + 0 + 1) / 4)
    assert maker_loss(made).item() == pytest.approx(1.5)
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    assert balance(3 * last.sum(), last.sum() / 2, last).item() == pytest.approx(6, rel=1e-4)
    with pytest.raises(ValueError, match="a critic 6 channels wide"):
        PatchCritic(6)


def test_from_the_command_line_to_a_file(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--vae may be any folder: here another chain's VAE."""
    with in_this_process():
        command = ["train", "decoder", "-r", "smoke", "--assets", str(ASSETS), "-o", str(tmp_path)]
        assert cli.run([*command, "--vae", str(chain / "vae"), "--set", "steps=1"]) == 0
    assert "decoder: step 1 (done)" in capsys.readouterr().out
    kept = load(tmp_path / "decoder" / RECIPE_FILE)
    assert isinstance(kept, DecoderRecipe)
    assert kept.vae == str(chain / "vae")
    written = tmp_path / "mine.safetensors"
    assert cli.run(["zoo", "decoder", "--run", str(tmp_path / "decoder"), "-o", str(written)]) == 0
    assert TaehvDecoder.load(written).config == recipe().decoder


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "decoder", "-r", "smoke", "-o", "out"], "name a folder with --assets"),
        (["train", "vae", "-r", "smoke", "-o", "out", "--clips", "videos"], "unknown 'clips'"),
        (["train", "decoder", "-r", "wan2.1", "-o", "out", "--clips", "videos"], "no VAE there"),
        (["zoo", "decoder", "--run", "out", "-o", "mine.pth"], "ends in .safetensors"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
