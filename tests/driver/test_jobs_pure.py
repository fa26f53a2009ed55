"""What many jobs need and no server: order, choice of servers, manifest, log, sweep, previews."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from distillery.driver.cancel import CancelToken
from distillery.driver.cli import terminal_image as preview
from distillery.driver.cli.sweep import values
from distillery.driver.errors import JobCancelled, JobError, JobOutOfMemory, NotStarted, ServerError, SourceError
from distillery.driver.jobs.contact_sheet import Cell, before_after, contact_sheet
from distillery.driver.jobs.existing import existing
from distillery.driver.jobs.manifest import Manifest, entry
from distillery.driver.jobs.ordered_map import ordered
from distillery.driver.jobs.output import publish, safe_name, save_png
from distillery.driver.jobs.sweep import Variant, variants
from distillery.driver.server.client import job_error
from distillery.driver.server.pool import Member, ServerPool, best
from distillery.driver.sources.clean_image import clean_image
from distillery.driver.upscaler import Item, Request, command_text
from distillery.nodes.command import CommandError
from distillery.nodes.generation import Generation


def member(name: str, **state) -> Member:
    def connect(say):
        raise ServerError(f"{name} is down.")

    made = Member(name, connect)
    for key, value in state.items():
        setattr(made, key, value)
    return made


# --- order -------------------------------------------------------------------------------------------------------


def test_results_come_in_order_however_long_each_takes():
    def work(index, seconds):
        time.sleep(seconds)
        return index

    assert list(ordered(work, [0.2, 0.0, 0.1, 0.0], 3, CancelToken())) == [0, 1, 2, 3]


def test_several_are_worked_on_at_a_time_and_no_more_than_that():
    running, most = 0, 0
    lock = threading.Lock()

    def work(index, _):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    list(ordered(work, range(8), 3, CancelToken()))
    assert most == 3


def test_an_error_comes_in_its_turn_and_ends_the_rest():
    token, begun = CancelToken(), []

    def work(index, _):
        begun.append(index)
        if index == 1:
            raise SourceError("no")
        time.sleep(0.05)
        return index

    results = ordered(work, range(50), 2, token)
    assert next(results) == 0
    with pytest.raises(SourceError):
        next(results)
    assert token.cancelled and len(begun) < 10


def test_stopping_early_cancels_and_waits_for_what_runs():
    token = CancelToken()

    def work(index, _):
        while index and not token.cancelled:
            time.sleep(0.01)
        return index

    results = ordered(work, range(5), 2, token)
    next(results)
    results.close()
    assert token.cancelled and not [t for t in threading.enumerate() if t.name.startswith("job ")]


# --- servers -----------------------------------------------------------------------------------------------------


def test_the_least_busy_server_is_taken_counting_queue_and_own_jobs():
    a, b, c = member("a", load=3), member("b", load=1, in_flight=1), member("c", load=1)
    assert best([a, b, c], [True] * 3, None, 2) is c
    assert best([a, b, c], [True, True, False], None, 2) is b
    b.in_flight = 2
    assert best([a, b, c], [True, True, False], None, 2) is a


def test_a_server_that_has_the_checkpoint_comes_first_and_is_waited_for():
    a, b = member("a"), member("b", load=9, checkpoints=["folder/Dream_v8.safetensors"])
    assert best([a, b], [True, True], "dream_v8.ckpt", 2) is b
    assert best([a, b], [True, True], "other", 2) is a
    b.in_flight = 2
    assert best([a, b], [True, True], "dream_v8.ckpt", 2) is None
    assert best([a, b], [True, False], "dream_v8.ckpt", 2) is a, "none that can be used has it"


def test_a_failing_server_is_set_aside_for_longer_each_time():
    pool = ServerPool([member("a"), member("b")])
    pauses = []
    for _ in range(8):
        pool.failed(pool.members[0], ServerError("x"))
        pauses.append(pool.members[0].retry_at - time.monotonic())
    assert [round(pause) for pause in pauses] == [2, 4, 8, 16, 32, 60, 60, 60]
    pool.worked(pool.members[0])
    assert pool.members[0].retry_at == 0


def test_no_server_at_all_is_an_error_that_names_each():
    pool = ServerPool([member("http://a"), member("http://b")])
    with (
        pytest.raises(ServerError, match=r"None of the 2 servers.*http://a is down.*http://b is down"),
        pool.slot(0, None, CancelToken()),
    ):
        pass


def test_a_cancelled_job_does_not_wait_for_a_server():
    token = CancelToken()
    pool = ServerPool([member("a", in_flight=2)])
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(JobCancelled), pool.slot(0, None, token):
        pass
    assert pool.members[0].in_flight == 2


def test_a_job_that_is_about_to_come_is_let_go_first_but_not_for_long():
    pool = ServerPool([member("a")], depth=1)
    order: list[int] = []

    def take(rank: int) -> None:
        with pool.slot(rank, None, CancelToken()):
            order.append(rank)

    def first() -> None:
        time.sleep(0.2)
        take(0)

    pool.expect(0)
    thread = threading.Thread(target=first)
    thread.start()
    take(1)
    thread.join()
    assert order == [0, 1]
    pool.expect(2)
    started = time.monotonic()
    take(3)
    assert time.monotonic() - started < 0.5, "a server that has nothing to do is not kept waiting"


# --- command -----------------------------------------------------------------------------------------------------


def test_parameters_by_name_make_the_same_command():
    assert command_text("--seed 4", {"power": 0.2, "neg": "night, fog"}) == "--seed 4 --power 0.2 --neg night, fog"
    assert command_text("", {"cfg": None}) == ""
    with pytest.raises(CommandError, match="Did you mean --power"):
        command_text("", {"powr": 0.2})
    with pytest.raises(CommandError, match="out of range"):
        command_text("", {"power": 2})


def test_a_text_given_by_name_cannot_smuggle_another_parameter():
    with pytest.raises(CommandError, match="cannot hold another parameter"):
        command_text("", {"neg": "fog --power 1"})


def test_values_of_a_sweep():
    assert values("power", ["0.1, 0.2,0.3"]) == [0.1, 0.2, 0.3]
    assert values("seed", ["18446744073709551615"]) == [2**64 - 1]
    assert values("cfg", None) == []
    for wrong in (["0.1,x"], ["2"], ["0.1", "0.2"], [","]):
        with pytest.raises(CommandError):
            values("power", wrong)


def test_rows_of_a_sweep_are_cfg_and_seed_and_columns_are_powers():
    rows = variants([0.3, 0.1, 0.3], [5.0, 7.0], [1])
    assert rows == [[Variant(p, cfg, 1) for p in (0.1, 0.3)] for cfg in (5.0, 7.0)]
    assert rows[0][0].command == "--power 0.1 --cfg 5.0 --seed 1" and rows[0][0].name == "power0.1_cfg5_seed1"
    with pytest.raises(CommandError, match="above 0"):
        variants([0], [], [])
    with pytest.raises(CommandError, match="too large"):
        variants([0.1, 0.2], [1 + i / 10 for i in range(60)], [])
    with pytest.raises(CommandError, match="--cfg"):
        variants([0.1], [99], [])


# --- files -------------------------------------------------------------------------------------------------------


def test_nothing_is_written_over_and_no_name_leaves_the_folder(tmp_path):
    picture = Image.new("RGB", (8, 8))
    assert [save_png(picture, tmp_path, "a").name for _ in range(3)] == ["a.png", "a_2.png", "a_3.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_2.png", "a_3.png"]
    assert "/" not in safe_name("../../x") and safe_name("...") == "image"
    part = tmp_path / "part"
    part.write_bytes(b"x")
    assert publish(part, tmp_path, "a").name == "a_4.png"


def test_an_existing_result_is_known_by_picture_and_command_not_by_name(tmp_path):
    def picture(path: Path, colour: int, **text: str) -> Path:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, value in text.items():
            info.add_text(key, value)
        Image.new("RGB", (64, 64), (colour, 0, 0)).save(path, pnginfo=info)
        return path

    from distillery.driver.server.client import upload_name

    data = picture(tmp_path / "a.png", 1).read_bytes()
    clean = clean_image(data, "a.png", Generation())

    def request(command: str) -> Request:
        return Request("a.png", "hash", clean, command, None, tmp_path, "a_2x")

    def result(name: str, image: str, command: str) -> None:
        graph = {
            "1": {"class_type": "DistilleryLoadImage", "inputs": {"image": image}},
            "2": {"class_type": "DistilleryParameters", "inputs": {"command": command}},
        }
        picture(tmp_path / name, 9, prompt=json.dumps(graph))

    name = f"{upload_name(*request('').upload)} [temp]"
    assert existing(request("")) is None
    picture(tmp_path / "a_2x.png", 5)
    (tmp_path / "a_2x_2.png").write_bytes(b"no picture")
    result("a_2x_3.png", "distillery_other.png [temp]", "--power 0.3")
    assert existing(request("--power 0.3")) is None
    result("a_2x_4.png", name, "—power 0.30")
    assert existing(request("--power 0.3")) == tmp_path / "a_2x_4.png"
    assert existing(request("--power 0.2")) is None
    assert existing(request("--power 0.2"), any_power=True) == tmp_path / "a_2x_4.png"


# --- manifest ------------------------------------------------------------------------------------------------


def test_the_manifest_has_whole_lines_whoever_writes_at_a_time(tmp_path):
    file = tmp_path / "new" / "manifest.jsonl"
    manifests = [Manifest(file) for _ in range(4)]

    def write(number: int) -> None:
        for i in range(50):
            manifests[number].add({"writer": number, "i": i, "text": "ü" * 500})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["writer"], line["i"]) for line in lines) == [(w, i) for w in range(4) for i in range(50)]


def test_a_line_that_was_cut_off_spoils_only_itself(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": ')
    Manifest(file).add({"c": 3})
    assert file.read_bytes().split(b"\n")[2:] == [b'{"c": 3}', b""]


@pytest.mark.parametrize(
    ("kind", "message", "main"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.", False),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9 GB)", False),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory", True),
        ("RuntimeError", "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.", True),
        ("RuntimeError", "could not create a primitive", True),
        ("MemoryError", "", True),
        ("OSError", "[Errno 12] Cannot allocate memory", True),
    ],
)
def test_memory_that_ran_out_is_told_by_whose_it_was(kind, message, main):
    error = job_error({"node_id": "1", "exception_type": kind, "exception_message": message}, {})
    assert isinstance(error, JobOutOfMemory) and error.main == main and ("main memory" in str(error)) == main


def test_other_failures_are_not_taken_for_memory():
    said = {"node_id": "1", "exception_type": "RuntimeError", "exception_message": "could not create a primitive cache"}
    assert not isinstance(job_error(said, {}), JobOutOfMemory)


def test_failures_have_lines_too_and_signatures_do_not_get_there():
    url = "https://cdn.discordapp.com/attachments/1/2/a.png"
    for error, status in (
        (JobError("x"), "failed"),
        (JobCancelled("x"), "cancelled"),
        (NotStarted("x"), "not started"),
    ):
        line = entry(Item(0, f"{url}?hm=secret", None, error), "--power 0")
        assert (line["status"], line["source"], line["command"], line["error"]) == (status, url, "--power 0", "x")


def test_a_manifest_that_cannot_be_written_is_told_before_any_work(tmp_path):
    with pytest.raises(SourceError, match="cannot be written"):
        Manifest(tmp_path)


# --- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"LC_TERMINAL": "iTerm2", "TERM": "xterm-256color"}, "iterm2"),
        ({"TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/x"}, None),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_pictures_only_where_the_terminal_takes_them(environment, expected):
    assert preview.protocol(environment) == expected
    assert preview.protocol(environment, terminal=False) is None


def test_what_a_terminal_is_sent_is_the_picture():
    buffer = io.BytesIO()
    Image.effect_noise((96, 64), 80).convert("RGB").save(buffer, "JPEG")
    iterm = preview.escape_sequence(buffer.getvalue(), "iterm2")
    assert Image.open(io.BytesIO(base64.b64decode(iterm.partition(":")[2].partition("\x07")[0]))).size == (96, 64)
    kitty = preview.escape_sequence(buffer.getvalue(), "kitty")
    parts = kitty.rstrip("\n").split("\x1b\\")[:-1]
    assert len(parts) > 1 and all(p.startswith("\x1b_G") and len(p.partition(";")[2]) <= 4096 for p in parts)
    assert ["m=1" in p.partition(";")[0] for p in parts] == [True] * (len(parts) - 1) + [False]
    image = Image.open(io.BytesIO(base64.b64decode("".join(p.partition(";")[2] for p in parts))))
    assert (image.format, image.size) == ("PNG", (96, 64))
    with pytest.raises(ValueError, match="not a picture"):
        preview.escape_sequence(b"\x1b[2J", "kitty")


def test_before_and_after_stand_side_by_side(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 0, 0)).save(buffer, "PNG")
    Image.new("RGBA", (128, 96), (0, 0, 200, 255)).save(tmp_path / "a_2x.png")
    path = before_after(buffer.getvalue(), tmp_path / "a_2x.png")
    assert path.name == "a_2x_compare.png"
    with Image.open(path) as sheet:
        assert sheet.width == 2 * 128 + 12 and sheet.height > 96
        assert sheet.getpixel((64, sheet.height - 5)) == (200, 0, 0)
        assert sheet.getpixel((sheet.width - 5, sheet.height - 5)) == (0, 0, 200)


def test_a_contact_sheet_shows_every_picture_and_frames_the_chosen_one(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0)]
    cells = []
    for i, colour in enumerate(colours):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{i}.png")
        cells.append(Cell(tmp_path / f"{i}.png", (f"power {i}", "x"), chosen=i == 1))
    sheet = contact_sheet([cells[:2], cells[2:]], (500, 500), tile=150)
    found = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert set(colours) <= found and (64, 200, 96) in found
    assert sheet.getpixel((20, sheet.height // 2 - 20)) == colours[0]
    assert sheet.width == 2 * 162 + 12
