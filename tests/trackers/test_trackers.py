"""Every tracker answers in our coordinates, whatever its own are: ours on real pixels, published ones through fakes.

The fakes have the signatures that cotracker and tapnet publish, and find a bright square: they see only the pixels,
in the layout and range that the real ones take, and move each query as the square moved since the query's own frame.
The square has integral steps, so that they are exact. They complain when anything else is sent.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file
from tests.test_tensor_file import Harm
from torch import Tensor, nn

from motionstream.trackers import lucas_kanade
from motionstream.trackers.cotracker import CoTracker
from motionstream.trackers.registry import TRACKERS, PointTracker, open_tracker
from motionstream.tracks.preview import drawn
from motionstream.tracks.tracks import Tracks

Video = npt.NDArray[np.uint8]
WIDTH, HEIGHT, FRAMES = 128, 64, 21
STEP = 2  # pixels that the square goes to the right, every frame
HIDDEN = 5  # the frame in which there is none
QUERIES = np.array([[20.5, 30.5], [21.25, 31.75], [70.0, 10.0]], np.float32)
BIRTHS = np.array([0, 3, 1])
STATE = {"weight": torch.arange(3.0)}


def bright_square() -> Video:
    """(F, H, W, 3): a red square of 8 pixels that starts at (16, 28); one frame without it."""
    video = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for frame in range(FRAMES):
        left = 16 + STEP * frame
        if frame != HIDDEN:
            video[frame, 28:36, left : left + 8, 0] = 255
    return video


def square_at(red: Tensor) -> tuple[float, float] | None:
    """(H, W) of red, whatever its range → the centre of mass of what is bright, centres counted from 0."""
    mass = red - red.min()
    if mass.max() <= 0:
        return None
    y, x = torch.meshgrid(torch.arange(red.shape[0]), torch.arange(red.shape[1]), indexing="ij")
    return float((mass * x).sum() / mass.sum()), float((mass * y).sum() / mass.sum())


# --- a published CoTracker ----------------------------------------------------------------------------------------


class FakeCoTracker(nn.Module):
    """`CoTrackerPredictor`: queries (t, x, y) of a (1, T, 3, H, W) video from 0 to 255."""

    step = 8

    def __init__(self, checkpoint: None, window_len: int, v2: bool, online: bool = False) -> None:
        super().__init__()
        assert (window_len, v2) == (16 if online else 60, False), "the sizes of version 3"
        self.model = nn.Module()
        self.model.weight = nn.Parameter(torch.zeros(3))

    def forward(self, video: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        assert video.shape == (1, FRAMES, 3, HEIGHT, WIDTH)
        return found([square_at(frame[0]) for frame in checked(video)], queries)


class FakeOnline(FakeCoTracker):
    """`CoTrackerOnlinePredictor`: windows of 16 frames, 8 apart; the first call only takes the queries."""

    def __init__(self, checkpoint: None, window_len: int, v2: bool) -> None:
        super().__init__(checkpoint, window_len, v2, online=True)
        self.windows: list[int] = []

    def forward(  # type: ignore[override]
        self, video_chunk: Tensor, is_first_step: bool = False, queries: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        places = [square_at(frame[0]) for frame in checked(video_chunk)]
        if is_first_step:
            assert queries is not None
            self.queries, self.places = queries, []
            return None, None
        assert len(places) <= 2 * self.step
        old = len(places) if not self.places else self.step  # frames of a later window that were seen before
        self.places += places[old:] if self.places else places
        self.windows.append(len(self.places))
        return found(self.places, self.queries)


def checked(video: Tensor) -> Tensor:
    assert video.dtype == torch.float32
    assert video.shape[:3:2] == (1, 3)
    assert video.max() == 255
    return video[0]


def found(places: list[tuple[float, float] | None], queries: Tensor) -> tuple[Tensor, Tensor]:
    """Each query moved as the square was since the query's frame; visible where the square is."""
    assert queries.shape[-1] == 3
    tracks = torch.zeros(1, len(places), queries.shape[1], 2)
    for n, (t, x, y) in enumerate(queries[0].tolist()):
        home = places[int(t)]
        assert home is not None
        for frame, place in enumerate(places):
            here = place or home
            tracks[0, frame, n] = torch.tensor([x + here[0] - home[0], y + here[1] - home[1]])
    return tracks, torch.tensor([place is not None for place in places])[None, :, None].expand(tracks.shape[:3])


# --- a published tapnet -------------------------------------------------------------------------------------------


class FakeTapir(nn.Module):
    """`tapnet.torch.tapir_model.TAPIR`, causal: points given as (t, y, x) of a square of 256, answered as x, y."""

    def __init__(self, pyramid_level: int, use_casual_conv: bool) -> None:
        super().__init__()
        assert (pyramid_level, use_casual_conv) == (1, True)
        self.weight = nn.Parameter(torch.zeros(3))

    def get_feature_grids(self, video: Tensor, is_training: bool) -> Any:
        assert video.shape == (1, 1, 256, 256, 3)
        assert (video.min(), video.max()) == (-1, pytest.approx(1, abs=0.01)) or video.max() == -1
        return square_at(video[0, 0, ..., 0])

    def get_query_features(self, video: Tensor, is_training: bool, query_points: Tensor, feature_grids: Any) -> Any:
        assert not query_points[..., 0].any(), "one frame at a time"
        return SimpleNamespace(resolutions=(1, 2), home=feature_grids, queries=query_points)

    def construct_initial_causal_state(self, points: int, resolutions: int) -> list[dict[str, Tensor]]:
        return [{"seen": torch.zeros(1, points)}] * resolutions * 4

    def estimate_trajectories(self, size: Any, *, feature_grids: Any, query_features: Any, **rest: Any) -> Any:
        assert size == (256, 256)
        memory = [{"seen": level["seen"] + 1} for level in rest["causal_context"]]
        home, here = query_features.home, feature_grids or query_features.home
        y, x = query_features.queries[0, :, 1], query_features.queries[0, :, 2]
        tracks = torch.stack([x + here[0] - home[0], y + here[1] - home[1]], -1)[None, :, None]
        doubt = torch.full(tracks.shape[:3], -9.0 if feature_grids else 9.0)
        return {
            "tracks": [tracks * 0, tracks],
            "occlusion": [doubt],
            "expected_dist": [doubt],
            "causal_context": memory,
        }


class FakeTapNext(nn.Module):
    """`tapnet.tapnext.tapnext_torch.TAPNext`: (t, y, x) in, y, x out; queries stay in the state."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        super().__init__()
        assert image_size == (256, 256)
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, video: Tensor, query_points: Tensor | None = None, state: Any = None) -> Any:
        here = square_at(video[0, 0, ..., 0])
        if state is None:
            assert query_points is not None
            state = SimpleNamespace(step=0, query_points=query_points, home=here)
        assert query_points is None or state.step == 0, "queries cannot be added to a state"
        dx, dy = (0.0, 0.0) if here is None else (here[0] - state.home[0], here[1] - state.home[1])
        tracks = state.query_points[None, ..., 1:] + torch.tensor([dy, dx])
        visible = torch.full((*tracks.shape[:3], 1), -3.0 if here is None else 3.0)
        after = SimpleNamespace(step=state.step + 1, query_points=state.query_points, home=state.home)
        return tracks, None, visible, after


def restore_model_from_jax_checkpoint(model: FakeTapNext, path: str) -> FakeTapNext:
    with np.load(path) as arrays, torch.no_grad():
        model.weight.copy_(torch.from_numpy(arrays["weight"]))
    return model


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages, as they are imported."""
    modules = {
        "cotracker.predictor": {"CoTrackerPredictor": FakeCoTracker, "CoTrackerOnlinePredictor": FakeOnline},
        "tapnet.torch.tapir_model": {"TAPIR": FakeTapir},
        "tapnet.tapnext.tapnext_torch": {"TAPNext": FakeTapNext},
        "tapnet.tapnext.tapnext_torch_utils": {"restore_model_from_jax_checkpoint": restore_model_from_jax_checkpoint},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        module.__dict__.update(contents)
        steps = name.split(".")
        for end in range(1, len(steps)):
            monkeypatch.setitem(sys.modules, ".".join(steps[:end]), ModuleType(".".join(steps[:end])))
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Path]:
    """A file of weights for each published tracker, each in another of the formats they come in."""
    files = {
        name: tmp_path / file for name, file in zip(PUBLISHED, ("a.pth", "b.pt", "c.safetensors", "d.npz"), strict=True)
    }
    torch.save({"model": STATE}, files["cotracker3"])
    torch.save(STATE, files["cotracker3-online"])
    save_file(STATE, files["tapir"])
    np.savez(files["tapnext"], weight=STATE["weight"].numpy())
    return files


PUBLISHED = [name for name in TRACKERS if name != "lucas-kanade"]
LIVE = [name for name in PUBLISHED if name != "cotracker3"]


def moved() -> npt.NDArray[np.float64]:
    """(F, N, 2) where the queries truly are: exact but for the frame without the square."""
    since = np.arange(FRAMES)[:, None] - BIRTHS
    return QUERIES + np.stack([STEP * since.clip(0), 0 * since], -1)


def opened(name: str, weights: dict[str, Path]) -> PointTracker:
    return open_tracker(name, weights[name], device="cpu")


# --- coordinates and visibility -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_trackers_answer_in_our_pixels(name: str, installed: None, weights: dict[str, Path]) -> None:
    result = opened(name, weights).track(bright_square(), QUERIES, BIRTHS)
    seen = np.arange(FRAMES) != HIDDEN
    np.testing.assert_allclose(result.xy[seen], moved()[seen], atol=2e-3)
    expected = (np.arange(FRAMES)[:, None] >= BIRTHS) & seen[:, None]
    np.testing.assert_array_equal(result.visible, expected)
    np.testing.assert_array_equal(result.xy[BIRTHS, np.arange(3)], QUERIES, "a point is born where it is asked for")


@pytest.mark.parametrize(("name", "sent"), [("cotracker3", [0, 20, 30]), ("cotracker3-online", [0, 20, 30])])
def test_pixel_centres_are_converted_for_cotracker(
    name: str, sent: list[int], installed: None, weights: dict[str, Path]
) -> None:
    """Our (20.5, 30.5) is the centre of column 20, row 30, which CoTracker calls (20, 30)."""
    tracker = opened(name, weights)
    assert isinstance(tracker, CoTracker)
    assert tracker._queries(QUERIES[:1], np.zeros(1, np.int64)).tolist() == [[sent]]


@pytest.mark.parametrize("name", LIVE)
def test_live_positions_come_as_frames_come(name: str, installed: None, weights: dict[str, Path]) -> None:
    tracker, video = opened(name, weights), bright_square()
    assert tracker.live
    asked: list[int] = []
    stream = tracker.track_frames((asked.append(0) or frame for frame in video), QUERIES[:2])  # type: ignore[func-returns-value]
    late, result = [], []
    for number, answer in enumerate(stream):
        late.append(len(asked) - 1 - number)
        result.append(answer)
    assert len(result) == FRAMES
    assert max(late) == (15 if name == "cotracker3-online" else 0)
    whole = tracker.track(video, QUERIES[:2])
    np.testing.assert_allclose(np.stack([xy for xy, _ in result]), whole.xy, atol=2e-3)
    np.testing.assert_array_equal(np.stack([seen for _, seen in result]), whole.visible)


def test_windows_are_those_that_the_online_network_takes(installed: None, weights: dict[str, Path]) -> None:
    for frames, windows in [(5, [5]), (16, [16]), (21, [16, 21]), (24, [16, 24]), (25, [16, 24, 25])]:
        tracker = opened("cotracker3-online", weights)
        assert isinstance(tracker, CoTracker)
        video = np.repeat(bright_square()[:1], frames, axis=0)
        assert tracker.track(video, QUERIES).frames == frames
        assert tracker.network.windows == windows


def test_points_that_leave_the_frame_are_invisible(installed: None, weights: dict[str, Path]) -> None:
    for name in PUBLISHED:
        result = opened(name, weights).track(bright_square(), np.array([[WIDTH - 3.0, 8.0]]))
        assert result.visible[1, 0]
        assert not result.visible[2:, 0].any(), name


def test_no_points_are_no_trouble(installed: None, weights: dict[str, Path]) -> None:
    for name in PUBLISHED:
        tracker = opened(name, weights)
        assert tracker.track(bright_square(), np.zeros((0, 2))).xy.shape == (FRAMES, 0, 2)
        if tracker.live:
            assert len(list(tracker.track_frames(bright_square(), np.zeros((0, 2))))) == FRAMES


def test_what_the_whole_video_needs_cannot_be_live(installed: None, weights: dict[str, Path]) -> None:
    tracker = opened("cotracker3", weights)
    assert not tracker.live
    with pytest.raises(ValueError, match=r"whole video.*cotracker3-online"):
        tracker.track_frames(iter(bright_square()), QUERIES)


@pytest.mark.parametrize("name", PUBLISHED)
def test_wrong_input_is_refused_by_all(name: str, installed: None, weights: dict[str, Path]) -> None:
    tracker = opened(name, weights)
    for video, queries, births in [
        (bright_square()[..., 0], QUERIES, None),
        (bright_square(), QUERIES[:, 0], None),
        (bright_square(), QUERIES * np.nan, None),
        (bright_square(), QUERIES, np.full(3, FRAMES)),
    ]:
        with pytest.raises(ValueError, match=r"send|one frame number"):
            tracker.track(video, queries, births)
    if tracker.live:
        with pytest.raises(ValueError, match="send"):
            list(tracker.track_frames([bright_square()[0, ..., 0]], QUERIES))


# --- ours ---------------------------------------------------------------------------------------------------------


def test_our_own_tracker_is_always_there_and_the_same_as_ever() -> None:
    pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")
    rng = np.random.default_rng(0)
    video = np.repeat(rng.integers(0, 255, (1, 48, 48, 3), np.uint8), 4, axis=0)
    tracker = open_tracker()
    counted: list[int] = []
    result = tracker.track(
        video,
        QUERIES[:2],
        np.array([0, 2]),
        over=lambda frames: (counted.append(0) or f for f in frames),  # type: ignore[func-returns-value]
    )
    same = lucas_kanade.track(video, QUERIES[:2], np.array([0, 2]))
    np.testing.assert_array_equal(result.xy, same.xy)
    np.testing.assert_array_equal(result.visible, same.visible)
    assert (tracker.name, tracker.licence, tracker.live, len(counted)) == ("lucas-kanade", "", True, 4)
    assert len(list(tracker.track_frames(video, QUERIES[:2]))) == 4


def test_a_hash_tells_trackers_apart(installed: None, weights: dict[str, Path], tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    hashes = [opened(name, weights).hash for name in PUBLISHED]
    assert opened("tapir", weights).hash == hashes[2] != open_tracker("tapir", tmp_path / "other.safetensors").hash
    assert lucas_kanade.tracker().hash != lucas_kanade.tracker(lucas_kanade.Settings(window=9)).hash
    assert all(len(digits) == 12 for digits in hashes)


# --- what is missing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cotracker3", r"cotracker is not installed.*--download.*scaled_offline.pth.*--tracker-path.*CC BY-NC 4.0"),
        ("cotracker3-online", r"cotracker is not installed.*scaled_online.pth.*CC BY-NC 4.0"),
        ("tapir", r"tapnet is not installed.*causal_bootstapir_checkpoint.pt.*--tracker-path.*Apache-2.0"),
        ("tapnext", r"tapnet is not installed.*bootstapnext_ckpt.npz.*--tracker-path.*Apache-2.0"),
    ],
)
def test_a_missing_package_says_what_to_install_and_its_licence(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("cotracker", "tapnet"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=says):
        open_tracker(name, device="cpu")


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_weights_say_so_too(
    name: str, installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match="--tracker-path"):
        open_tracker(name, device="cpu")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_tracker(name, tmp_path / "nowhere.pt", device="cpu")


@pytest.mark.parametrize("name", PUBLISHED)
def test_other_files_are_no_weights(name: str, installed: None, tmp_path: Path) -> None:
    words, others, harmful = tmp_path / "words.pth", tmp_path / "others.pth", tmp_path / "harm.pth"
    words.write_text("nothing")
    torch.save({"bias": torch.zeros(2)}, others)
    torch.save({"weight": Harm(tmp_path / "struck")}, harmful)
    for file in (words, others, harmful):
        with pytest.raises(ValueError, match=file.name):
            open_tracker(name, file, device="cpu")
    assert not (tmp_path / "struck").exists()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("flow", {}, "'flow' is unknown: use one of lucas-kanade, cotracker3"),
        ("lucas-kanade", {"download": True}, "no weights: leave out --tracker-path and --download"),
        ("lucas-kanade", {"path": Path(".")}, "no weights"),
        ("tapir", {"download": True}, "cannot be downloaded from here"),
        ("tapir", {"path": Path(".")}, "is a folder: name the file causal_bootstapir_checkpoint.pt"),
        ("cotracker3", {"path": Path(".")}, "no hubconf.py: name a checkout"),
        ("cotracker3", {"device": "cuda:99"}, "'cuda:99' is not on this machine"),
        ("tapir", {"device": "toaster"}, "'toaster' is not on this machine"),
    ],
)
def test_wrong_choices_are_said(
    name: str, options: dict[str, Any], says: str, installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says):
        open_tracker(name, **options)


# --- a checkout ---------------------------------------------------------------------------------------------------

HUBCONF = """
import torch

class Predictor(torch.nn.Module):
    step = 8
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.weight = torch.nn.Parameter(torch.zeros(3))
    def forward(self, video, queries):
        tracks = queries[:, None, :, 1:].expand(1, video.shape[1], -1, -1)
        return tracks.clone(), torch.ones(tracks.shape[:3], dtype=torch.bool)

def cotracker3_offline(*, pretrained=True, **kwargs):
    predictor = Predictor()
    if pretrained:
        predictor.model.weight.data += 7
    return predictor
"""


def test_a_checkout_is_used_and_downloads_only_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    with pytest.raises(ValueError, match=r"weights of cotracker3 are not on this machine.*--download.*scaled_offline"):
        open_tracker("cotracker3", tmp_path, device="cpu")
    told = open_tracker("cotracker3", tmp_path, download=True, device="cpu")
    assert isinstance(told, CoTracker)
    assert told.network.model.weight.tolist() == [7, 7, 7]
    (tmp_path / "checkpoints").mkdir()
    torch.save(STATE, tmp_path / "checkpoints" / "scaled_offline.pth")
    for download in (False, True):
        own = open_tracker("cotracker3", tmp_path, download=download, device="cpu")
        assert isinstance(own, CoTracker)
        assert own.network.model.weight.tolist() == [0, 1, 2], "what the folder has needs no download"
    result = own.track(bright_square(), QUERIES)
    np.testing.assert_allclose(result.xy, np.broadcast_to(QUERIES, result.xy.shape), atol=1e-5)


def test_the_hub_is_asked_only_with_download(installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked: list[tuple[Any, ...]] = []

    def load(*names: str, **options: Any) -> FakeOnline:
        asked.append((*names, options))
        return FakeOnline(None, 16, False)

    monkeypatch.setattr(torch.hub, "load", load)
    with pytest.raises(ValueError, match="not on this machine"):
        open_tracker("cotracker3-online", device="cpu")
    assert asked == []
    open_tracker("cotracker3-online", download=True, device="cpu")
    assert asked == [("facebookresearch/co-tracker", "cotracker3_online", {"pretrained": True, "trust_repo": True})]


# --- to look at ---------------------------------------------------------------------------------------------------


def test_tracks_are_drawn_where_they_are_visible() -> None:
    video = np.zeros((5, 270, 960, 3), np.uint8)
    xy = np.repeat(np.array([[[800.0, 100.0], [100.0, 200.0]]]), 5, axis=0)
    visible = np.array([[True, True]] * 4 + [[True, False]])
    pictures = drawn(video, Tracks(xy, visible), pictures=3)
    assert pictures.shape == (3, 135, 480, 3), "not wider than 480"
    assert pictures[:, 50, 400].any(-1).all()
    assert pictures[:2, 100, 50].any(-1).all()
    assert not pictures[2, 100, 50].any()
    assert drawn(video, Tracks.empty(5)).any() == np.False_
    with pytest.raises(ValueError, match="4 frames on a video of 5"):
        drawn(video, Tracks(xy[:4], visible[:4]))
