"""The seam to the driver, device memory and graphs, by every package that is installed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from edge_reloc.cuda.arena import DeviceArena
from edge_reloc.cuda.driver import Cuda, CudaError
from edge_reloc.cuda.graph import Graph
from edge_reloc.cuda.probe import find_gpu


def test_the_driver_tells_what_the_device_is(cuda: Cuda) -> None:
    assert cuda.info == find_gpu()
    assert cuda.info.target == "sm_" + cuda.info.compute_capability.replace(".", "")


def test_bytes_go_up_and_come_down(cuda: Cuda) -> None:
    before = cuda.free_bytes()
    stream, address = cuda.create_stream(), cuda.allocate(1000)
    assert cuda.free_bytes() <= before
    sent, got = (cuda.allocate_host(1000, mapped=False) for _ in range(2))
    assert not sent.array.any()
    sent.array[:] = np.arange(1000) % 251
    cuda.upload(address, sent.array, stream)
    cuda.clear(address, 10, stream)
    cuda.download(got.array, address, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(got.array[10:], sent.array[10:])
    assert not got.array[:10].any()
    cuda.free(address)
    for memory in (sent, got):
        cuda.free_host(memory)
    cuda.destroy_stream(stream)


def test_errors_say_what_was_being_done(cuda: Cuda) -> None:
    with pytest.raises(CudaError, match=r"^CUDA: take \d+ bytes of the device: .*memory"):
        cuda.allocate(1 << 50)
    with pytest.raises(CudaError, match=r"^CUDA: load kernels: "):
        cuda.load(b"no kernels at all\0")


def test_events_lie_in_the_order_of_their_stream(cuda: Cuda) -> None:
    stream, address = cuda.create_stream(), cuda.allocate(1 << 20)
    start, end = cuda.create_event(), cuda.create_event()
    cuda.record(start, stream)
    cuda.clear(address, 1 << 20, stream)
    cuda.record(end, stream)
    assert cuda.elapsed_ms(start, end) > 0
    cuda.free(address)


@pytest.mark.parametrize("mapped", [True, False])
def test_a_staged_buffer_has_two_sides(cuda: Cuda, mapped: bool) -> None:
    arena, stream = DeviceArena(cuda, mapped=mapped), cuda.create_stream()
    buffer = arena.take_staged("both", (10, 3), np.float32)
    assert buffer.address % 256 == 0 and not buffer.host.any()
    buffer.host[:] = 7
    arena.upload(buffer, stream)
    cuda.clear(buffer.address, 60, stream)
    arena.download(buffer, stream)
    cuda.synchronize(stream)
    assert not buffer.host[:5].any() and (buffer.host[5:] == 7).all()
    assert (arena.pinned_bytes == 0) == mapped
    arena.close()


def test_one_memory_where_the_device_shares_the_processors(cuda: Cuda) -> None:
    assert DeviceArena(cuda).mapped == cuda.info.integrated
    if os.environ.get("EDGE_RELOC_STAND_IN"):
        assert not cuda.info.integrated


def test_the_arena_keeps_its_budget_and_its_seal(cuda: Cuda) -> None:
    arena = DeviceArena(cuda, budget_bytes=2048)
    arena.take("first", 1000)
    assert arena.nbytes == 1024
    with pytest.raises(CudaError, match=r"'second' takes 1500 .* 1024 of the budget .* first 1000"):
        arena.take("second", 1500)
    arena.seal()
    with pytest.raises(CudaError, match="after the arena was sealed"):
        arena.take_staged("third", (1,), np.uint8)
    arena.close()


def test_a_graph_repeats_what_was_captured(cuda: Cuda) -> None:
    arena, stream = DeviceArena(cuda, mapped=False), cuda.create_stream()
    buffer = arena.take_staged("bytes", (256,), np.uint8)
    graph = Graph(stream, lambda: cuda.clear(buffer.address, 128, stream))
    for _ in range(2):
        buffer.host[:] = 9
        arena.upload(buffer, stream)
        arena.download(buffer, stream)
        cuda.synchronize(stream)
        assert (buffer.host == 9).all()  # capturing and waiting run nothing
        graph.launch()
        arena.download(buffer, stream)
        cuda.synchronize(stream)
        assert not buffer.host[:128].any() and (buffer.host[128:] == 9).all()
    graph.close()
    arena.close()


def test_what_cannot_be_captured_is_one_line(cuda: Cuda) -> None:
    stream = cuda.create_stream()

    def enqueue() -> Any:
        cuda.synchronize(stream)

    with pytest.raises(CudaError, match=r"^CUDA: "):
        Graph(stream, enqueue)
    cuda.synchronize(stream)  # and the stream works on
