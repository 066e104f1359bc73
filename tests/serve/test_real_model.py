"""The server with the real streaming model (small, untrained): what a viewer gets is what the library gives."""

from __future__ import annotations

import numpy as np
from tests.serve.conftest import Serve
from tests.small import GEOMETRY, small_model, small_vae

from motionstream.sampling import RolloutConfig
from motionstream.serve import Limits, ServeSettings
from motionstream.serve.encode import jpeg_frames
from motionstream.serve.pictures import PictureStore
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import AnchoredConditioner
from motionstream.tracks import Tracks

TIMES = (1.0, 0.9, 0.7)
PICTURE = PictureStore(Limits()).get("gallery", "kitten")


def streaming_model() -> StreamingModel:
    config = RolloutConfig(3, 3, 3, TIMES)
    network, vae, maker = small_model(), small_vae(), AnchoredConditioner
    return StreamingModel("small", network, vae, GEOMETRY, 24.0, config, "0" * 64, conditioner=maker)


def test_a_viewer_gets_the_frames_of_the_library(serve: Serve) -> None:
    client = serve(streaming_model()).viewer("kitten")
    client.send("pin", gesture=0, x=0.5, y=0.5, at=0, grid={"size": 0, "spacing": 0.05})
    client.send("start")
    served = [client.chunk() for _ in range(2)]
    client.send("prompt", text="snow is falling")
    client.expect("chunk")
    client.close()

    stream = streaming_model().open(PICTURE, prompt="", seed=0)
    width, height = GEOMETRY.size
    settings = ServeSettings()
    for chunk in served:
        count = stream.chunk_frames
        xy = np.full((count, 1, 2), (width / 2, height / 2), np.float32)
        wanted = stream.step(Tracks(xy, np.ones((count, 1), bool)))
        assert chunk["frames"] == list(jpeg_frames(wanted, settings.jpeg_quality))
    assert served[0]["frames"] != served[1]["frames"]
