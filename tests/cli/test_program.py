"""The program: what it answers to right and wrong input, and with which exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.cli.program import ASSETS, error_line

import motionstream
from motionstream import cli, errors
from motionstream.stream.video import read_video
from motionstream.tracks import Tracks
from motionstream.tracks.events import GridDown, Move
from motionstream.tracks.record import Header, Recorder


class FakeStream:
    """Keeps to the public contract; every frame is as bright as the mean x of its visible points."""

    size, prompt = (256, 144), ""

    def __init__(self, fps: float = 24) -> None:
        self.fps, self.done = fps, 0

    @property
    def chunk_frames(self) -> int:
        return 12 if self.done else 9

    def step(self, tracks: Tracks | None) -> npt.NDArray[np.uint8]:
        count = self.chunk_frames
        frames = np.zeros((count, 144, 256, 3), np.uint8)
        assert tracks is None or tracks.frames == count
        if tracks is not None and tracks.points:
            frames += tracks.xy[:, :, 0].mean(1).astype(np.uint8)[:, None, None, None]
        self.done += count
        return frames


class FakeModel:
    size, hash, fps = (256, 144), "0123abcd", 24.0

    def __init__(self) -> None:
        self.opened: list[tuple[tuple[int, ...], str, int]] = []
        self.asked: list[dict[str, str]] = []

    def open(self, image: npt.NDArray[np.uint8], prompt: str = "", seed: int = 0, **others: str) -> FakeStream:
        self.asked.append(others)
        self.opened.append((image.shape, prompt, seed))
        return FakeStream(self.fps)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """What `motionstream.load` gives: the fake for "tiny", the library's kind of complaint for anything else."""
    fake = FakeModel()

    def load(name: str, device: str = "auto") -> FakeModel:
        if name != "tiny":
            raise ValueError(f"model {name!r} is unknown: use tiny")
        return fake

    monkeypatch.setattr(motionstream, "load", load, raising=False)
    return fake


def save_tracks(path: Path, frames: int = 30, **changes: Any) -> Path:
    """A point that goes four pixels a frame to the right, as an npz that the program reads."""
    xy = np.zeros((frames, 1, 2), np.float32)
    xy[:, 0] = np.stack([4.0 * np.arange(frames), np.full(frames, 72.0)], -1)
    arrays = {"xy": xy, "visible": np.ones((frames, 1), bool), "size": np.array([256, 144])}
    np.savez(path, **{**arrays, **changes})
    return path


# --- generate -----------------------------------------------------------------------------------------------------


def test_a_video_is_written_along_the_tracks(model: FakeModel, picture: Path, tmp_path: Path) -> None:
    tracks, out = save_tracks(tmp_path / "drag.npz"), tmp_path / "out.mp4"
    arguments = ["generate", "-i", str(picture), "-t", str(tracks), "-p", "a boat", "--seed", "7", "-o", str(out)]
    assert cli.run(arguments) == errors.DONE
    frames, fps = read_video(out)
    assert (frames.shape, fps) == ((30, 144, 256, 3), 24)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 4 * np.arange(30), atol=4)
    assert model.opened == [((90, 160, 3), "a boat", 7)]
    assert cli.run([*arguments, "--sink", "refresh"]) == errors.DONE
    assert model.asked == [{}, {"sink": "refresh"}]


def test_the_length_is_asked_for_or_that_of_the_tracks(model: FakeModel, picture: Path, tmp_path: Path) -> None:
    tracks = save_tracks(tmp_path / "drag.npz", frames=30)
    for extra, frames in [([], 120), (["--seconds", "0.5"], 12), (["-t", str(tracks)], 30)]:
        out = tmp_path / "out.npz"
        assert cli.run(["generate", "-i", str(picture), "-o", str(out), *extra]) == errors.DONE
        with np.load(out) as arrays:
            assert arrays["frames"].shape == (frames, 144, 256, 3)


def test_recorded_gestures_are_played_with_their_words(model: FakeModel, picture: Path, tmp_path: Path) -> None:
    recorder = Recorder(Header((64, 36), prompt="a boat"))
    recorder.apply(GridDown("drag 1", 10.0, 20.0, spacing=4.0, size=4.0))
    recorder.tracks(0, 9)
    recorder.apply(Move("drag 1", 30.0, 20.0, time=0.4))
    recorder.tracks(9, 12)
    recorder.recording().save("drag.jsonl")
    arguments = ["generate", "-i", str(picture), "-g", "drag.jsonl", "-o"]
    assert cli.run([*arguments, "plain.npz"]) == errors.DONE
    assert cli.run([*arguments, "marked.npz", "--marked", "-p", "a ship"]) == errors.DONE
    assert [prompt for _, prompt, _ in model.opened] == ["a boat", "a ship"]
    plain, marked = (np.load(name)["frames"] for name in ("plain.npz", "marked.npz"))
    assert plain.shape == marked.shape == (21, 144, 256, 3)
    assert plain[0].mean() == pytest.approx(40, abs=2), "in pixels of the model's frame, four times as large"
    assert plain[-1].mean() == pytest.approx(120, abs=2)
    changed = (plain != marked).any(-1)
    assert changed.any((1, 2)).all()
    assert changed.mean() < 0.02, "dots, and the picture between them"


def test_a_sheet_can_be_asked_for(model: FakeModel, picture: Path, tmp_path: Path) -> None:
    assert cli.run(["generate", "-i", str(picture), "-o", "sheet.png", "--seconds", "1"]) == errors.DONE
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 256, 3 * 144)


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("nowhere.png: No such file", ["-i", "nowhere.png"]),
        ("words.txt: not a picture", ["-i", "words.txt"]),
        (".", ["-i", "."]),
        ("out.avi: write to a name that ends in .mp4", ["-o", "out.avi"]),
        ("there is no folder no/such/folder", ["-o", "no/such/folder/out.mp4"]),
        ("nowhere.npz: No such file", ["-t", "nowhere.npz"]),
        ("words.txt", ["-t", "words.txt"]),
        ("finite", ["-t", "nan.npz"]),
        ("shape", ["-t", "shape.npz"]),
        ("size", ["-t", "other.npz"]),
        ("objects.npz", ["-t", "objects.npz"]),
        ("nowhere.jsonl: No such file", ["-g", "nowhere.jsonl"]),
        ("words.txt, line 1", ["-g", "words.txt"]),
        ("--tracks and --gestures: name one of the two", ["-g", "words.txt", "-t", "nan.npz"]),
        ("model 'huge' is unknown", ["-m", "huge"]),
        ("--seconds -1.0: must be positive", ["--seconds", "-1"]),
        ("--seconds inf", ["--seconds", "inf"]),
        ("sink 'drain' is unknown: use fixed or refresh", ["--sink", "drain"]),
        ("'--seconds'", ["--seconds", "soon"]),
        ("No such option", ["--no-such-option"]),
    ],
)
def test_wrong_input_is_one_line_and_two(
    model: FakeModel, picture: Path, capsys: pytest.CaptureFixture[str], says: str, change: list[str]
) -> None:
    Path("words.txt").write_text("neither picture nor tracks")
    save_tracks(Path("nan.npz"), xy=np.full((30, 1, 2), np.nan, np.float32))
    save_tracks(Path("shape.npz"), xy=np.zeros((30, 2), np.float32))
    save_tracks(Path("other.npz"), size=np.array([-1, 0]))
    np.savez(Path("objects.npz"), xy=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    said = error_line(capsys, ["generate", "-i", str(picture), "-o", "out.mp4", *change])
    assert says in said
    assert not Path("out.mp4").exists()


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--image" in error_line(capsys, ["generate", "-o", "out.mp4"])
    assert "No such command 'paint'" in error_line(capsys, ["paint"])


# --- internal errors -----------------------------------------------------------------------------------------------


def break_the_library(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def load(name: str, device: str) -> None:
        raise error

    monkeypatch.setattr(motionstream, "load", load, raising=False)


def test_an_internal_error_is_one_line_and_says_where_only_when_asked(
    picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_the_library(monkeypatch, KeyError("cache"))
    arguments = ["generate", "-i", str(picture), "-o", "out.mp4"]
    assert "internal error: KeyError: 'cache'; motionstream --debug" in error_line(
        capsys, arguments, errors.INTERNAL_ERROR
    )
    assert cli.run(["--debug", *arguments]) == errors.INTERNAL_ERROR
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_neither(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_the_library(monkeypatch, KeyboardInterrupt())
    assert cli.run(["generate", "-i", str(picture), "-o", "out.mp4"]) == errors.INTERRUPTED


def test_a_missing_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], picture: Path
) -> None:
    break_the_library(monkeypatch, ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    said = error_line(capsys, ["generate", "-i", str(picture), "-o", "out.mp4"])
    assert "pip install 'motionstream[data]'" in said


def test_a_module_of_this_package_that_is_missing_is_an_internal_error() -> None:
    assert not errors.is_user_error(ModuleNotFoundError("No module named 'motionstream.x'", name="motionstream.x"))


def test_messages_are_one_printable_line() -> None:
    assert errors.one_line(ValueError("a\n  b\x1b[31m c")) == "a b[31m c"
    assert (
        errors.one_line(FileNotFoundError(2, "No such file or directory", "a.png"))
        == "a.png: No such file or directory"
    )


# --- the other commands -------------------------------------------------------------------------------------------


def test_doctor_looks_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--json", "doctor.json"]) == errors.DONE
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["torch"].startswith("2.")
    assert found["free_memory_gib"] > 0
    assert set(found["weights"]) == {"status", "files"}
    assert "→ " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve", "--host", "0.0.0.0"], "token"),
        (["serve", "--port", "70000"], "'--port'"),
        (["serve", "--sink", "drain"], "sink 'drain' is unknown: use fixed or refresh"),
        (["demo", "--model", "huge"], "model 'huge' is unknown"),
        (["data", "synth", "--assets", "."], "nothing to do"),
        (["data", "synth", "--assets", "nowhere", "--preview", "s.png"], "no assets folder at nowhere"),
        (["data", "synth", "--assets", ".", "--preview", "s.png"], "backgrounds"),
        (["data", "synth", "--assets", ".", "--preview", "s.png", "--size", "wide"], "such as 256x144"),
        (["track", "-v", "nowhere.mp4", "-o", "t.npz"], "nowhere.mp4: No such file"),
        (["track", "-v", "words.mp4", "-o", "t.npz"], "words.mp4: not a video"),
        (["track", "-v", "words.mp4", "-o", "t.txt"], "ends in .npz"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--preview", "t.jpg"], "t.jpg: a preview is written to a name"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--grid", "50"], "--grid 50: write columns x rows"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--grid", "5x5", "--points", "8"], "name one of the two"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--tracker", "flow"], "tracker 'flow' is unknown"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--download"], "lucas-kanade has no weights"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--tracker-path", "nowhere"], "nowhere: No such file"),
        (["track", "-v", "words.mp4", "-o", "t.npz", "--tracker", "tapir", "--device", "tpu9"], "use auto, cpu, cuda"),
        (["train", "painting", "-r", "smoke", "--assets", ".", "-o", "out"], "painting"),
        (["train", "vae", "-r", "smoky", "--assets", ".", "-o", "out"], "smoky"),
        (["bench", "live", "--model", "huge"], "model 'huge' is unknown"),
        (["evaluate", "motion", "--assets", "nowhere"], "no assets folder at nowhere"),
        (["evaluate", "motion"], "name a folder of them with --assets"),
        (["evaluate", "motion", "-d", ".", "--controls", "7"], "controls 7: use dense"),
    ],
)
def test_every_command_says_what_is_wrong(
    model: FakeModel, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("words.mp4").write_text("not a video")
    assert says in error_line(capsys, arguments)


def test_worlds_are_drawn_and_kept(tmp_path: Path) -> None:
    assets = str(ASSETS)
    arguments = ["data", "synth", "--assets", assets, "--split", "all", "--clips", "2", "--frames", "5"]
    assert cli.run([*arguments, "--size", "96x64", "--preview", "s.png", "-o", "clips"]) == errors.DONE
    with Image.open("s.png") as sheet:
        assert sheet.height > 2 * 64
    assert len(list(Path("clips").glob("*.mp4"))) == 2


def test_live_figures_are_written(model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    model.fps = 240.0
    assert cli.run(["bench", "live", "--seconds", "1", "--json", "out/live.json"]) == errors.DONE
    figures = json.loads(Path("out/live.json").read_text())
    assert (figures["model"], figures["model_hash"], figures["nominal_fps"]) == ("tiny", "0123abcd", 240)
    assert figures["fps"] > 240
    assert {"machine", "date", "gesture_to_frame_ms", "missed_deadlines"} <= set(figures)
    assert "gesture_to_frame_ms.p95" in capsys.readouterr().out


def test_a_port_in_use_is_said(model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = error_line(capsys, ["serve", "--port", str(taken.getsockname()[1])])
    assert "port" in said


def test_a_video_becomes_control(model: FakeModel, tmp_path: Path) -> None:
    """`track` follows a moving texture to its true place, and `generate` accepts what it wrote."""
    from motionstream.stream.video import write_mp4

    texture = np.random.default_rng(0).integers(0, 255, (24, 48, 3), np.uint8)
    field = np.asarray(Image.fromarray(texture).resize((384, 192), Image.Resampling.BICUBIC))
    write_mp4(tmp_path / "pan.mp4", (field[20 : 20 + 144, 60 - 2 * t : 60 - 2 * t + 256] for t in range(12)), 24)
    arguments = ["track", "-v", "pan.mp4", "-o", "pan.npz"]
    assert cli.run([*arguments, "--grid", "5x4", "--frames", "3", "--preview", "pan.png"]) == errors.DONE
    with np.load("pan.npz") as arrays, Image.open("pan.png") as sheet:
        assert (arrays["xy"].shape, sheet.size) == ((3, 20, 2), (3 * 256, 144))
    assert cli.run([*arguments, "--points", "8"]) == errors.DONE
    with np.load("pan.npz") as arrays:
        xy, visible = arrays["xy"], arrays["visible"]
    moved = (xy[-1] - xy[0])[visible.all(0)]
    assert len(moved) >= 20
    np.testing.assert_allclose(np.median(moved, 0), [22, 0], atol=0.5)
    Image.fromarray(field[20 : 20 + 144, 60 : 60 + 256]).save("first.png")
    assert cli.run(["generate", "-i", "first.png", "-t", "pan.npz", "-o", "copy.npz"]) == errors.DONE


# --- the program as it is started ---------------------------------------------------------------------------------


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "", "NO_COLOR": "1", **environment},
    )


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom motionstream import cli\nassert cli.run(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'av', 'cv2', 'fastapi', 'PIL'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = start("-c", program)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "serve", "generate", "track", "train", "doctor", "data", "bench", "evaluate"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["generate", "serve", "track", "train"])
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--help"]) == errors.DONE
    said = " ".join(capsys.readouterr().out.partition("Options ─")[0].split())
    assert said.count(f"motionstream {command} ") >= 2, "how it is called, and an example"


def test_python_m_is_the_same_program() -> None:
    done = start("-m", "motionstream", "generate", "-i", "nowhere.png", "-o", "out.mp4")
    assert (done.returncode, done.stdout) == (errors.WRONG_INPUT, "")
    assert done.stderr == "motionstream: nowhere.png: No such file or directory\n"
